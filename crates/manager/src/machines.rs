//! The machines of this user on this host.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clade_store::{Folders, Lock};
use clade_vmm::folder::LOCK_FILE;
use clade_vmm::record::LifeRecord;
use clade_vmm::spec::{MachineSpec, SPEC_FILE};

use crate::branch::finish_restoration;
use crate::choose::choose;
use crate::names::check_name;
use crate::state::LockState;
use crate::{Error, Machine, State};

/// The machines of this user on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machines {
    /// What lasts: a folder for each machine, by its name.
    folder: PathBuf,
    /// What does not: a folder for each running machine's sockets, by its id.
    sockets: PathBuf,
}

/// All that there is.
#[derive(Debug, Default)]
pub struct Survey {
    /// The machines, by name.
    pub machines: Vec<Machine>,
    /// Folders of machines that this version of Clade cannot read, by name.
    pub unreadable: Vec<Unreadable>,
}

/// The folder of a machine that this version of Clade cannot read.
#[derive(Debug, Clone)]
pub struct Unreadable {
    /// The machine's name.
    pub name: String,
    /// Why it cannot be read.
    pub reason: String,
}

/// What stands in a folder.
enum Found {
    Machine(Box<Machine>),
    Unreadable(Unreadable),
    /// A machine is being made or removed there, or was and is gone.
    Nothing,
}

impl Machines {
    /// The machines of the user who runs this process.
    ///
    /// # Errors
    /// When there is no folder that is safe from other users.
    pub fn of_user() -> Result<Self, Error> {
        let folders = Folders::of_user()?;
        clade_store::create_folder(folders.data())?;
        let sockets = folders.runtime()?.join("run");
        Self::in_folders(folders.data().join("machines"), sockets)
    }

    /// The machines in `folder`, with their sockets below `sockets`. Both are created if missing.
    ///
    /// # Errors
    /// When a folder is not this user's alone.
    pub fn in_folders(folder: PathBuf, sockets: PathBuf) -> Result<Self, Error> {
        clade_store::private_folder(&folder)?;
        clade_store::private_folder(&sockets)?;
        Ok(Self { folder, sockets })
    }

    /// Other machines of this user, whose folders are in `folder`.
    pub(crate) fn elsewhere(&self, folder: PathBuf) -> Result<Self, Error> {
        Self::in_folders(folder, self.sockets.clone())
    }

    /// Where the machines' folders are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the sockets of the machine with this id are while it runs.
    pub fn sockets(&self, id: &str) -> PathBuf {
        self.sockets.join(id)
    }

    /// Keeps others from making, starting and removing machines meanwhile.
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        Ok(Lock::acquire(&self.folder.join(".lock"), || ())?)
    }

    /// All machines, and what else there is. Clears away what is left of those that are gone.
    ///
    /// # Errors
    /// When the folders cannot be read.
    pub fn survey(&self) -> Result<Survey, Error> {
        let _lock = self.lock()?;
        let mut survey = Survey::default();
        let entries = fs::read_dir(&self.folder).map_err(Error::io("list", &self.folder))?;
        for entry in entries {
            let folder = entry.map_err(Error::io("list", &self.folder))?.path();
            if folder.is_dir() {
                match self.look_into(&folder)? {
                    Found::Machine(machine) => survey.machines.push(*machine),
                    Found::Unreadable(machine) => survey.unreadable.push(machine),
                    Found::Nothing => {}
                }
            }
        }
        survey
            .machines
            .sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        survey.unreadable.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(survey)
    }

    /// All machines, by name.
    ///
    /// # Errors
    /// When the folders cannot be read.
    pub fn list(&self) -> Result<Vec<Machine>, Error> {
        Ok(self.survey()?.machines)
    }

    /// The machine that has this name or id, or else the only one whose name or id starts so.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`], and [`Error::Unreadable`] for one that this
    /// version of Clade cannot read.
    pub fn find(&self, text: &str) -> Result<Machine, Error> {
        if check_name(text).is_ok() {
            // Most machines are called by their whole name, and the others need not be looked at.
            let _lock = self.lock()?;
            if let Found::Machine(machine) = self.look_into(&self.folder.join(text))? {
                return Ok(*machine);
            }
        }
        let survey = self.survey()?;
        let unreadable = survey.unreadable.iter().find(|one| one.name == text);
        if let Some(Unreadable { name, reason }) = unreadable.cloned() {
            return Err(Error::Unreadable { name, reason });
        }
        choose(survey.machines, text)
    }

    /// Whether a new machine may have this name.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::NameTaken`].
    pub fn check_free(&self, name: &str) -> Result<(), Error> {
        check_name(name)?;
        let _lock = self.lock()?;
        match self.look_into(&self.folder.join(name))? {
            Found::Machine(machine) => Err(Error::taken(name, Some(&machine.state))),
            Found::Unreadable(_) => Err(Error::taken(name, None)),
            Found::Nothing => Ok(()),
        }
    }

    /// The machine as it is now; `None` if it is gone.
    pub(crate) fn again(&self, machine: &Machine) -> Result<Option<Machine>, Error> {
        let _lock = self.lock()?;
        self.again_locked(machine)
    }

    /// [`Machines::again`], for those who hold the lock.
    pub(crate) fn again_locked(&self, machine: &Machine) -> Result<Option<Machine>, Error> {
        Ok(match self.look_into(&machine.folder)? {
            Found::Machine(now) if now.spec.id == machine.spec.id => Some(*now),
            _ => None,
        })
    }

    /// Takes a machine that nobody has: holds its lock, which is to be passed on to its process or
    /// dropped. Needs the lock of all machines.
    pub(crate) fn claim(&self, folder: &Path) -> Result<Option<File>, Error> {
        let path = folder.join(LOCK_FILE);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(Error::io("open", &path))?;
        match lock.try_lock() {
            Ok(()) => {
                // No process has it yet.
                lock.set_len(0).map_err(Error::io("write", &path))?;
                Ok(Some(lock))
            }
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(Error::io("lock", path)(error)),
        }
    }

    /// What stands in a folder; clears it away if its machine is gone. Needs the lock of all
    /// machines.
    fn look_into(&self, folder: &Path) -> Result<Found, Error> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') {
            // Half made or half removed.
            clear(folder)?;
            return Ok(Found::Nothing);
        }
        let lock = LockState::of(folder);
        if lock == LockState::Free
            && let Err(error) = finish_restoration(folder)
        {
            let (name, reason) = (name.into_owned(), error.to_string());
            return Ok(Found::Unreadable(Unreadable { name, reason }));
        }
        let spec = match read_spec(folder) {
            // The folder's name is the one that counts, should they differ after a crash.
            Ok(Some(spec)) => MachineSpec {
                name: name.into_owned(),
                ..spec
            },
            Ok(None) if lock == LockState::Held => return Ok(Found::Nothing),
            Ok(None) => {
                clear(folder)?;
                return Ok(Found::Nothing);
            }
            Err(reason) => {
                let name = name.into_owned();
                return Ok(Found::Unreadable(Unreadable { name, reason }));
            }
        };
        let record = LifeRecord::read(folder).ok().flatten();
        let state = State::of(folder, lock, record.as_ref());
        if lock == LockState::Free {
            self.clear_sockets(&spec.id, record.as_ref())?;
            if spec.temporary && !state.is_suspended() {
                clear(folder)?;
                return Ok(Found::Nothing);
            }
        }
        Ok(Found::Machine(Box::new(Machine {
            state,
            folder: folder.to_owned(),
            machines: self.clone(),
            spec,
            record,
        })))
    }

    /// A process that was killed leaves its sockets behind.
    pub(crate) fn clear_sockets(&self, id: &str, record: Option<&LifeRecord>) -> Result<(), Error> {
        let recorded = record.map(|record| record.sockets.clone());
        // Another XDG_RUNTIME_DIR may have been in force; but nothing else is removed.
        let recorded = recorded.filter(|path| path.file_name() == Some(id.as_ref()));
        for folder in recorded.into_iter().chain([self.sockets(id)]) {
            clear(&folder)?;
        }
        Ok(())
    }
}

/// Writes a machine's spec, so that a crash leaves the old or the new one.
pub(crate) fn write_spec(folder: &Path, spec: &MachineSpec) -> Result<(), Error> {
    let path = folder.join(SPEC_FILE);
    if spec.temporary {
        // It will not be there after a crash.
        return write_spec_unsynced(folder, spec);
    }
    Ok(clade_store::write(&path, &text_of(spec, &path)?)?)
}

/// Writes the spec of a machine that is being made, so that nobody sees half of it. After a crash of
/// the host before it is synced it may be empty; then the machine was never made.
pub(crate) fn write_spec_unsynced(folder: &Path, spec: &MachineSpec) -> Result<(), Error> {
    let path = folder.join(SPEC_FILE);
    let staged = folder.join(format!(".{SPEC_FILE}"));
    fs::write(&staged, text_of(spec, &path)?).map_err(Error::io("write", &staged))?;
    fs::rename(&staged, &path).map_err(Error::io("write", path))
}

fn text_of(spec: &MachineSpec, path: &Path) -> Result<Vec<u8>, Error> {
    serde_json::to_vec_pretty(spec).map_err(|error| Error::io("write", path)(error.into()))
}

/// Removes a folder with all that is in it; it may be gone already.
pub(crate) fn clear(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::io("clear away", folder)(error))
        }
        _ => Ok(()),
    }
}

/// `None` where there is none: the machine is half made or half removed.
fn read_spec(folder: &Path) -> Result<Option<MachineSpec>, String> {
    match fs::read(folder.join(SPEC_FILE)) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| format!("{}: {error}", folder.join(SPEC_FILE).display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", folder.join(SPEC_FILE).display())),
    }
}

#[cfg(test)]
mod tests;
