//! The files and folders that the guest has open.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::Statx;
use rustix::io::Errno;

/// A file that changed in the last second may change again without its time doing so.
const SETTLED_AFTER: i64 = 2;

/// What tells whether a file's contents are what they were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    size: u64,
    modified: (i64, u32),
    changed: (i64, u32),
    settled: bool,
}

impl Version {
    pub(crate) fn of(status: &Statx) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_secs() as i64);
        let (modified, changed) = (&status.stx_mtime, &status.stx_ctime);
        Self {
            size: status.stx_size,
            modified: (modified.tv_sec, modified.tv_nsec),
            changed: (changed.tv_sec, changed.tv_nsec),
            settled: changed.tv_sec.max(modified.tv_sec) + SETTLED_AFTER <= now,
        }
    }

    /// Whether what the guest read at the time of `before` is still so.
    pub(crate) fn is_still(&self, before: &Self) -> bool {
        before.settled && self == before
    }
}

/// Open files and folders, by the numbers that the guest knows them by.
pub(crate) struct Handles {
    open: HashMap<u64, Arc<OwnedFd>>,
    next: u64,
    max: usize,
}

impl Handles {
    /// At most `max` are open at a time.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            open: HashMap::new(),
            next: 1,
            max,
        }
    }

    pub(crate) fn reset(&mut self) {
        self.open.clear();
    }

    /// Refuses when there are too many: before a file is opened, or even made.
    pub(crate) fn room(&self) -> Result<(), Errno> {
        if self.open.len() < self.max {
            Ok(())
        } else {
            Err(Errno::NFILE)
        }
    }

    pub(crate) fn add(&mut self, file: OwnedFd) -> u64 {
        let handle = self.next;
        self.next += 1;
        self.open.insert(handle, Arc::new(file));
        handle
    }

    pub(crate) fn get(&self, handle: u64) -> Result<Arc<OwnedFd>, Errno> {
        self.open.get(&handle).cloned().ok_or(Errno::BADF)
    }

    pub(crate) fn release(&mut self, handle: u64) {
        self.open.remove(&handle);
    }
}
