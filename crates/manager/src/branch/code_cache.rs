//! What an engine has made of a guest's code: a file beside the layers of memory, which snapshots and
//! machines share. It may be lost, so nothing here fails: whoever misses it translates again.

use std::fs::{self, File, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use clade_store::link_or_copy;
use clade_store::snapshots::{CODE_CACHE, Snapshot};
use clade_vmm::control::{Event, Request};

use crate::{Error, Machine};

/// One that is being written.
const NEW: &str = "code.cache.new";

/// Makes an empty one for the machine in `folder`.
pub(super) fn create(folder: &Path) -> Result<File, Error> {
    let path = folder.join(NEW);
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(&path).map_err(Error::io("create", path))
}

/// Whether the machine in `folder` has one.
pub(super) fn is_there(folder: &Path) -> bool {
    folder.join(CODE_CACHE).exists()
}

/// Puts the new one in the place of the old, or away if it was not `written`.
pub(super) fn finish(folder: &Path, written: bool) {
    let new = folder.join(NEW);
    if !written {
        let _ = fs::remove_file(new);
        return;
    }
    let _ = fs::set_permissions(&new, Permissions::from_mode(0o400));
    let _ = fs::rename(new, folder.join(CODE_CACHE));
}

/// Removes what the machine in `folder`, which does not run, does not need: if it goes on from no memory,
/// all of it.
pub(super) fn clear(folder: &Path, has_memory: bool) {
    finish(folder, false);
    if !has_memory {
        let _ = fs::remove_file(folder.join(CODE_CACHE));
    }
}

impl Machine {
    /// Gives `snapshot`, which the machine went on from, what the machine's engine has made of code since: those
    /// who go on from it later begin with that.
    ///
    /// # Errors
    /// When the machine does not run, or the file cannot be written. The snapshot is as it was then.
    pub fn teach(&self, snapshot: &Snapshot) -> Result<(), Error> {
        let folder = snapshot.folder();
        let file = create(folder)?;
        let saved = self.save_code_cache(&file);
        finish(folder, matches!(saved, Ok(true)));
        saved.map(drop)
    }

    fn save_code_cache(&self, file: &File) -> Result<bool, Error> {
        let mut connection = self.connect()?;
        self.tell(&connection, &Request::SaveCodeCache)?;
        let answer = self.take_files(&mut connection, &[file.as_fd()], |event| match event {
            Event::CodeCacheSaved { written } => Some(Ok(written)),
            Event::Failed { reason } => Some(Err(reason)),
            _ => None,
        })?;
        answer.map_err(|reason| self.no_answer(reason))
    }
}

/// Gives the one in folder `from` to that in `to`, in place of any other.
pub(super) fn give(from: &Path, to: &Path) {
    let _ = fs::remove_file(to.join(CODE_CACHE));
    let _ = link_or_copy(&from.join(CODE_CACHE), &to.join(CODE_CACHE));
}
