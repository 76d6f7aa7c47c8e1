//! Templates: snapshots with names, from which machines are made.

use std::fs;
use std::path::{Path, PathBuf};

use clade_store::FileName;
use clade_store::snapshots::{DraftSnapshot, Snapshot, Snapshots};
use clade_vmm::spec::{MachineConfig, MachineSpec};

use super::files;
use crate::names::check_name;
use crate::{Error, Machine, Machines};

/// The file of a template with the SSH key that its guest lets in: whoever has the template can tell a
/// machine made from it who its user is. The machine has it until then.
pub const TEMPLATE_KEY_FILE: &str = "ssh.key";

impl Machines {
    /// The templates of this user.
    ///
    /// # Errors
    /// When their folder cannot be made, or is not this user's alone.
    pub fn templates(&self) -> Result<Snapshots, Error> {
        self.kept_in("templates")
    }

    /// The template of this name, if there is one.
    ///
    /// # Errors
    /// When there is one that cannot be used.
    pub fn template(&self, name: &str) -> Result<Option<Snapshot>, Error> {
        match FileName::new(name) {
            Ok(name) => Ok(self.templates()?.get(&name)?),
            Err(_) => Ok(None),
        }
    }

    /// The name, if a new template can have it.
    ///
    /// # Errors
    /// [`Error::BadName`], [`Error::TemplateTaken`].
    pub fn check_template_name(&self, name: &str) -> Result<FileName, Error> {
        let taken = || Error::TemplateTaken {
            name: name.to_owned(),
        };
        check_name(name).map_err(Error::of_template)?;
        let name = files::name_of(name)?;
        match self.templates()?.folder().join(&name).exists() {
            true => Err(taken()),
            false => Ok(name),
        }
    }

    /// Makes sure that a template has all that its machines need, so that it could be of any host.
    ///
    /// # Errors
    /// When its machine has a file of the user's.
    pub fn check_portable(&self, template: &Snapshot) -> Result<(), Error> {
        super::import::check(&template.manifest).map_err(|reason| {
            let name = &template.name;
            Error::Branch(format!(
                "template '{name}' cannot leave this host: {reason}"
            ))
        })
    }

    /// Makes a template of a snapshot.
    ///
    /// # Errors
    /// When the snapshot is damaged, or the template cannot be written.
    pub fn template_of(&self, snapshot: &Snapshot, name: &FileName) -> Result<Snapshot, Error> {
        snapshot.check()?;
        let mut draft = self.templates()?.begin()?;
        for file in snapshot.manifest.files.keys() {
            draft.link(&snapshot.path(file), file)?;
        }
        draft.know(snapshot.manifest.files.values().copied());
        let mut details = snapshot.manifest.details.clone();
        let mut spec = super::restore::spec_of(&snapshot.manifest)?;
        complete(&draft, &mut spec.config)?;
        details.config = files::to_value(&spec)?;
        details.name = Some(name.to_string());
        details.parent = Some(snapshot.manifest.id.clone());
        Ok(draft.commit_as(name, details)?)
    }
}

impl Machine {
    /// Keeps the machine as it is at this instant as a template; otherwise as [`Machine::snapshot`].
    /// `key` is the file of a private key that the guest lets in, if it does.
    ///
    /// # Errors
    /// As there.
    pub fn freeze(
        &self,
        name: &FileName,
        key: Option<&Path>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Snapshot, Error> {
        let templates = self.machines.templates()?;
        let mut kept = self.keep_in(&templates, false, progress)?;
        complete(&kept.draft, &mut kept.spec.config)?;
        if let Some(key) = key {
            copy(&kept.draft, key, TEMPLATE_KEY_FILE)?;
        }
        self.commit(kept, Some(name.to_string()), |draft, details| {
            draft.commit_as(name, details)
        })
    }
}

/// Gives a template copies of the files that its machine boots from and that are elsewhere: they are
/// the user's, or the cache's.
fn complete(draft: &DraftSnapshot, config: &mut MachineConfig) -> Result<(), Error> {
    let boot = [
        (&mut config.kernel, "kernel"),
        (&mut config.initrd, "initrd"),
        (&mut config.firmware, "firmware"),
    ];
    for (path, name) in boot {
        if let Some(path) = path.as_mut().filter(|path| path.is_absolute()) {
            copy(draft, path, name)?;
            *path = PathBuf::from(name);
        }
    }
    Ok(())
}

fn copy(draft: &DraftSnapshot, from: &Path, name: &str) -> Result<(), Error> {
    let to = draft.path(&files::name_of(name)?);
    fs::copy(from, to).map_err(Error::io("keep a copy of", from))?;
    Ok(())
}

/// What a template's machine was made of.
///
/// # Errors
/// When it is of a machine that this version of Clade does not know.
pub fn machine_of(template: &Snapshot) -> Result<MachineSpec, Error> {
    super::restore::spec_of(&template.manifest)
}
