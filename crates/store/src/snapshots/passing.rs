use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{Error, Lock};

/// What the lock of a passing folder is called: the folder's name and this.
const LOCK: &str = ".lock";

/// A folder that is not to last, with its lock: one on its way in or out. Dropped, it is gone.
///
/// The lock is beside the folder and taken before the folder is there, so nobody who finds the folder
/// without the lock's owner can be wrong about it.
#[derive(Debug)]
pub(super) struct Passing {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: Lock,
}

impl Passing {
    /// Takes a passing name. The folder is not made; what a dead process left under the name is cleared
    /// away.
    pub(super) fn begin(parent: &Path, name: &str) -> Result<Self, Error> {
        let lock_path = parent.join(format!("{name}{LOCK}"));
        let passing = Self {
            path: parent.join(name),
            _lock: Lock::acquire(&lock_path, || ())?,
            lock_path,
        };
        remove_folder(&passing.path)?;
        Ok(passing)
    }

    /// Clears away a passing folder or lock with this name, unless a process is at work there.
    pub(super) fn clear_if_dead(parent: &Path, name: &str) -> Result<(), Error> {
        let name = name.strip_suffix(LOCK).unwrap_or(name);
        let lock_path = parent.join(format!("{name}{LOCK}"));
        match Lock::try_acquire(&lock_path)? {
            None => Ok(()),
            Some(lock) => Self {
                path: parent.join(name),
                lock_path,
                _lock: lock,
            }
            .clear(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder, saying so where that fails.
    pub(super) fn clear(self) -> Result<(), Error> {
        remove_folder(&self.path)
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        // What cannot be removed now is cleared away by the next who looks; until then its lock stays.
        if remove_folder(&self.path).is_ok() {
            let _ = fs::remove_file(&self.lock_path);
        }
    }
}

fn remove_folder(path: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("clear away", path, error))
        }
        _ => Ok(()),
    }
}
