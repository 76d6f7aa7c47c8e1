//! The folder of a machine.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags};

use crate::console::{LOG_FILE, OLD_LOG_FILE};
use crate::control::SOCKET_FILE;
use crate::spec::SPEC_FILE;

/// Name of the file in a machine's folder whose lock (flock) the machine's process holds: a folder
/// whose lock is free belongs to a machine that is gone. It holds the process's number.
pub const LOCK_FILE: &str = "lock";

/// Name of the file in a machine's folder that takes what Clade itself has to say.
pub const MACHINE_LOG_FILE: &str = "machine.log";

/// The folder of this process's machine, open, so that it can be emptied whatever stands at its
/// path by then.
#[derive(Debug)]
pub(crate) struct MachineFolder {
    path: PathBuf,
    handle: OwnedFd,
}

impl MachineFolder {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let handle = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self {
            path: path.to_owned(),
            handle,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder with the files that the manager and this process put there. What cannot
    /// be removed is left to the manager, which finds the lock free.
    pub(crate) fn remove(self) {
        for name in [
            SOCKET_FILE,
            SPEC_FILE,
            LOG_FILE,
            OLD_LOG_FILE,
            MACHINE_LOG_FILE,
            LOCK_FILE,
        ] {
            // Missing, or the host refuses: see above.
            let _ = rustix::fs::unlinkat(&self.handle, name, AtFlags::empty());
        }
        let _ = fs::remove_dir(&self.path);
    }
}
