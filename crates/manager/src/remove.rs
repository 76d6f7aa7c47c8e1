//! Removing and renaming machines that do not run.

use std::fs;
use std::path::{Path, PathBuf};

use crate::machines::{clear, write_spec};
use crate::{Error, Machine, Machines, State};

impl Machines {
    /// Removes a machine that does not run, with all that it has.
    ///
    /// # Errors
    /// [`Error::Busy`] if it runs, [`Error::Suspended`].
    pub fn remove(&self, machine: &Machine) -> Result<(), Error> {
        let lock = self.lock()?;
        let Some(now) = self.again_locked(machine)? else {
            return Ok(());
        };
        let busy = || Error::Busy {
            name: now.spec.name.clone(),
            state: now.state.described(),
        };
        if now.state.is_live() {
            return Err(busy());
        }
        if now.state.is_suspended() {
            let name = now.spec.name;
            return Err(Error::Suspended {
                reason: "what its guest has in memory would be lost",
                remedy: format!("`clade rm -f {name}` removes it all the same."),
                name,
            });
        }
        let claimed = self.claim(&now.folder)?.ok_or_else(busy)?;
        let gone = self.set_aside(&now.folder, &now.spec.id)?;
        drop((lock, claimed));
        clear(&gone)
    }

    /// Removes the folder of a machine that this version of Clade cannot read.
    ///
    /// # Errors
    /// [`Error::NotFound`], and [`Error::Busy`] if a process has it.
    pub fn remove_unreadable(&self, name: &str) -> Result<(), Error> {
        let survey = self.survey()?;
        if !survey.unreadable.iter().any(|one| one.name == name) {
            return Err(Error::NotFound {
                text: name.to_owned(),
                known: survey
                    .machines
                    .into_iter()
                    .map(|one| one.spec.name)
                    .collect(),
            });
        }
        let lock = self.lock()?;
        let folder = self.folder().join(name);
        let claimed = self.claim(&folder)?.ok_or_else(|| Error::Busy {
            name: name.to_owned(),
            state: State::Starting.described(),
        })?;
        let gone = self.set_aside(&folder, name)?;
        drop((lock, claimed));
        clear(&gone)
    }

    /// Gives a machine that does not run another name.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::NameTaken`], and [`Error::Busy`] if it runs.
    pub fn rename(&self, machine: &Machine, name: &str) -> Result<(), Error> {
        self.check_free(name)?;
        let _lock = self.lock()?;
        let mut now = self
            .again_locked(machine)?
            .ok_or_else(|| machine.not_running())?;
        let busy = || Error::Busy {
            name: machine.spec.name.clone(),
            state: State::Starting.described(),
        };
        let _claimed = self.claim(&now.folder)?.ok_or_else(busy)?;
        let folder = self.folder().join(name);
        if folder.exists() {
            return Err(Error::taken(name, None));
        }
        // The folder's name is the one that counts: a crash in between changes nothing for anybody.
        fs::rename(&now.folder, &folder).map_err(Error::io("rename", &now.folder))?;
        clade_store::sync_folder(self.folder())?;
        now.spec.name = name.to_owned();
        write_spec(&folder, &now.spec)
    }

    /// From one moment to the next there is no such machine.
    fn set_aside(&self, folder: &Path, id: &str) -> Result<PathBuf, Error> {
        let gone = self.folder().join(format!(".gone-{id}"));
        clear(&gone)?;
        fs::rename(folder, &gone).map_err(Error::io("remove", folder))?;
        clade_store::sync_folder(self.folder())?;
        Ok(gone)
    }
}
