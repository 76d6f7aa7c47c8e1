//! What a machine becomes when it is restored.
//!
//! All of it is made in a folder within the machine's own. Giving that folder the name [`RESTORED`] is the
//! one step by which the machine becomes it: whoever dies before, the machine is as it was, and
//! whoever finds it afterwards, with no process, finishes what is left to do.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use clade_store::snapshots::Snapshot;
use clade_store::{FileName, Lock, link_or_copy, sealed};
use clade_vmm::folder::{RESTORED, SUSPENDED_FILE};
use clade_vmm::spec::{MachineSpec, SPEC_FILE};

use super::disks::NewTops;
use super::restore::{Source, is_state};
use super::suspend::{Suspended, forget_suspension};
use super::{code_cache, files, snapshot};
use crate::Error;
use crate::create::sync_own_files;
use crate::machines::{clear, write_spec};

/// How the names of the folders begin. [`RESTORED`] is a link to one: links are replaced in one step, and
/// folders are not.
const PREFIX: &str = "restored-";

/// The link, before it gets its name.
const NEW_LINK: &str = "restored.new";

/// A folder with all that a machine is to be. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub(super) struct Restoration<'a> {
    machine: &'a Path,
    name: String,
    committed: bool,
}

impl<'a> Restoration<'a> {
    /// Makes it, in the folder of a machine whose [`crate::Machine::branch_lock`] the caller has. The
    /// machine will be `spec`, of which the disks are those of the snapshot below new layers.
    pub(super) fn prepare(
        machine: &'a Path,
        id: &str,
        (snapshot, source): (&Snapshot, &Source<'_>),
        mut spec: MachineSpec,
    ) -> Result<Self, Error> {
        sweep(machine)?;
        let made = Self {
            machine,
            name: format!("{PREFIX}{id}"),
            committed: false,
        };
        let folder = made.folder();
        clade_store::private_folder(&folder)?;
        for name in &source.files {
            link_or_copy(&source.folder.join(name), &folder.join(name))?;
        }
        code_cache::give(source.folder, &folder);
        NewTops::create(&folder, id, &mut spec.config.disks)?;
        if source.saved().is_some() {
            let memory = Suspended::of_snapshot(snapshot);
            sealed::write(&folder.join(SUSPENDED_FILE), &memory)?;
        }
        write_spec(&folder, &spec)?;
        sync_own_files(&folder).map_err(Error::io("sync the files in", &folder))?;
        Ok(made)
    }

    fn folder(&self) -> PathBuf {
        self.machine.join(&self.name)
    }

    /// From now on the machine is this, unless it runs and goes on.
    pub(super) fn commit(mut self) -> Result<(), Error> {
        let new = self.machine.join(NEW_LINK);
        remove_if_there(&new)?;
        symlink(&self.name, &new).map_err(Error::io("create", &new))?;
        let link = self.machine.join(RESTORED);
        fs::rename(&new, &link).map_err(Error::io("create", &link))?;
        self.committed = true;
        Ok(clade_store::sync_folder(self.machine)?)
    }
}

impl Drop for Restoration<'_> {
    fn drop(&mut self) {
        if !self.committed {
            // What stays is removed at the next attempt.
            let _ = clear(&self.folder());
        }
    }
}

/// Makes the machine in `folder`, which nobody runs or starts meanwhile, what it was restored to, unless
/// that was done. Whoever is killed at it is followed by somebody who does it again.
pub(crate) fn finish(folder: &Path) -> Result<(), Error> {
    let from = folder.join(RESTORED);
    let spec = from.join(SPEC_FILE);
    if !spec.exists() {
        return Ok(());
    }
    forget_suspension(folder)?;
    for name in names(&from)? {
        if !is_state(&name) && ![SPEC_FILE, SUSPENDED_FILE].contains(&name.as_str()) {
            files::adopt(&from, folder, &name)?;
        }
    }
    code_cache::give(&from, folder);
    clade_store::sync_folder(folder)?;
    let place = folder.join(SPEC_FILE);
    fs::rename(&spec, &place).map_err(Error::io("write", &place))?;
    clade_store::sync_folder(folder)?;
    if !from.join(SUSPENDED_FILE).exists() {
        forget(folder)?;
    }
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<FileName>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let entry = entry.map_err(Error::io("list", folder))?;
        names.push(files::name_of(&entry.file_name().to_string_lossy())?);
    }
    Ok(names)
}

/// Where what is kept of the memory of the machine in `folder` is, if anything is.
pub(super) fn memory_folder(folder: &Path) -> PathBuf {
    let restored = folder.join(RESTORED);
    match restored.join(SUSPENDED_FILE).exists() {
        true => restored,
        false => folder.to_owned(),
    }
}

/// What the machine in `folder` was restored to is no longer to be gone on from, for good.
pub(super) fn forget(folder: &Path) -> Result<(), Error> {
    let link = folder.join(RESTORED);
    let Ok(target) = fs::read_link(&link) else {
        return Ok(());
    };
    remove_if_there(&link)?;
    clade_store::sync_folder(folder)?;
    // What stays is removed with what other attempts left.
    let _ = clear(&folder.join(target));
    Ok(())
}

/// Removes what others have left in the folder of a machine, unless one of them may be at work.
pub(super) fn clear_left(folder: &Path) -> Result<(), Error> {
    match Lock::try_acquire(&folder.join(snapshot::LOCK))? {
        Some(_alone) => sweep(folder),
        None => Ok(()),
    }
}

/// The same for those who have the [`crate::Machine::branch_lock`].
pub(super) fn sweep(folder: &Path) -> Result<(), Error> {
    let current = fs::read_link(folder.join(RESTORED)).ok();
    remove_if_there(&folder.join(NEW_LINK))?;
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let name = entry.map_err(Error::io("list", folder))?.file_name();
        let is_ours = name.to_string_lossy().starts_with(PREFIX);
        if is_ours && current.as_deref() != Some(Path::new(&name)) {
            clear(&folder.join(name))?;
        }
    }
    Ok(())
}

fn remove_if_there(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
