//! The folders of a machine: one that lasts, with what it is and has, and one for its sockets, which
//! does not outlive its process.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags};

use crate::spec::SPEC_FILE;

/// Name of the file in a machine's folder whose lock (flock) the machine's process holds: nobody
/// else may run the machine, or change what is in its folder. It holds the process's number.
pub const LOCK_FILE: &str = "lock";

/// Name of the file in a machine's folder that takes what Clade itself has to say.
pub const MACHINE_LOG_FILE: &str = "machine.log";

/// Name of the file in a machine's folder that says that it is suspended: its memory is there, and it
/// goes on from it when it next starts.
pub const SUSPENDED_FILE: &str = "suspended.json";

/// Name, in a machine's folder, of a link to the folder with all that the machine is to become, or has become
/// and has not gone on from, by being restored. That has a [`SUSPENDED_FILE`], if there is memory, and
/// the machine's spec until it counts.
pub const RESTORED: &str = "restored";

/// The folders of this process's machine, the lasting one open.
#[derive(Debug)]
pub(crate) struct MachineFolder {
    path: PathBuf,
    handle: OwnedFd,
    sockets: PathBuf,
}

impl MachineFolder {
    pub(crate) fn open(path: &Path, sockets: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let handle = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self {
            path: path.to_owned(),
            handle,
            sockets: sockets.to_owned(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn sockets(&self) -> &Path {
        &self.sockets
    }

    /// Whether the machine is to go on from what was kept of it.
    pub(crate) fn is_suspended(&self) -> bool {
        let is_there = |name| rustix::fs::statat(&self.handle, name, AtFlags::empty()).is_ok();
        is_there(SUSPENDED_FILE) || is_there(RESTORED)
    }

    /// Whether the machine, which was suspended, goes on in this process or never: its mark is gone,
    /// for good.
    pub(crate) fn goes_on_here_alone(&self) -> bool {
        !self.is_suspended() && rustix::fs::fsync(&self.handle).is_ok()
    }

    /// Gives the machine free: from now on another process may run or remove it.
    pub(crate) fn release(self) {
        self.remove_sockets();
        unlock();
    }

    /// Removes the machine with all that it has. What cannot be removed is left to the manager,
    /// which finds a folder without a spec, and its lock free.
    pub(crate) fn remove(self) {
        // Without its spec there is no machine, whatever becomes of the rest.
        let _ = rustix::fs::unlinkat(&self.handle, SPEC_FILE, AtFlags::empty());
        self.remove_sockets();
        for entry in Dir::read_from(&self.handle).into_iter().flatten().flatten() {
            if entry.file_name() != c"lock" {
                let _ = rustix::fs::unlinkat(&self.handle, entry.file_name(), AtFlags::empty());
            }
        }
        // The lock last: until then, nobody takes the folder for one that was left behind.
        let _ = rustix::fs::unlinkat(&self.handle, LOCK_FILE, AtFlags::empty());
        let _ = fs::remove_dir(&self.path);
        unlock();
    }

    fn remove_sockets(&self) {
        // If it is gone already, so much the better.
        let _ = fs::remove_dir_all(&self.sockets);
    }
}

/// The lock is on standard input; see [`crate::process`].
fn unlock() {
    // If it is no lock, somebody else started this process than the manager.
    let _ = rustix::fs::flock(rustix::stdio::stdin(), FlockOperation::Unlock);
}
