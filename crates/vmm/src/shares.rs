//! The host's side of shared folders.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clade_devices::virtio::GuestSlice;
use clade_devices::virtio::fs::FsBackend;
use clade_share::{Limits, Share};

use crate::descriptors;
use crate::spec::{SHARES_MAX, ShareSpec};

/// As many descriptors are left to the rest of the machine.
const RESERVED: u64 = 256;

/// With fewer descriptors a share is of little use.
const FEWEST: u64 = 64;

/// More descriptors serve no share: its guest can know [`clade_share::MAX_KNOWN`] files.
const MOST: u64 = 1 << 20;

/// Why a folder cannot be shared.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// The folder.
    #[error(
        "cannot share {}: {source}; is it a folder, and may you read it?", folder.display()
    )]
    Open {
        /// The folder.
        folder: PathBuf,
        /// The host's answer.
        source: io::Error,
    },
    /// There is no room on the board.
    #[error("{0} shared folders are too many; a machine has up to {SHARES_MAX}")]
    TooMany(usize),
}

/// A shared folder. Clones are the same one.
#[derive(Clone)]
pub(crate) struct SharedFolder(Arc<Mutex<Share>>);

impl SharedFolder {
    /// Opens the folders of a machine.
    pub(crate) fn open_all(specs: &[ShareSpec]) -> Result<Vec<Self>, ShareError> {
        if specs.len() > SHARES_MAX {
            return Err(ShareError::TooMany(specs.len()));
        }
        if specs.is_empty() {
            return Ok(Vec::new());
        }
        let limits = limits(descriptors::raise_limit(), specs.len() as u64);
        specs
            .iter()
            .map(|spec| {
                let share = Share::open(&spec.folder, spec.read_only, limits);
                let share = share.map_err(|source| ShareError::Open {
                    folder: spec.folder.clone(),
                    source,
                })?;
                Ok(Self(Arc::new(Mutex::new(share))))
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Share> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SharedFolder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SharedFolder")
    }
}

impl FsBackend for SharedFolder {
    fn serve(&mut self, request: &[GuestSlice<'_>], reply: &[GuestSlice<'_>]) -> usize {
        self.lock().serve(request, reply)
    }

    fn reset(&mut self) {
        self.lock().reset();
    }
}

/// One of `shares` shares' part of the descriptors.
fn limits(descriptors: u64, shares: u64) -> Limits {
    let part = (descriptors.saturating_sub(RESERVED) / shares).clamp(FEWEST, MOST);
    let known = part * 3 / 4;
    Limits {
        known: known as usize,
        open: (part - known) as usize,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_shares_together_leave_descriptors_to_the_machine() {
        for descriptors in [1024, 4096, 20_000, 524_288] {
            for shares in 1..=SHARES_MAX as u64 {
                let each = limits(descriptors, shares);
                let all = shares * (each.known + each.open) as u64;
                assert!(all + RESERVED <= descriptors, "{descriptors}, {shares}");
                assert!(
                    each.known >= 48 && each.open >= 16,
                    "{descriptors}, {shares}"
                );
            }
        }
        assert_eq!(limits(u64::MAX, 1).known, 3 << 18);
    }

    #[test]
    fn what_is_no_folder_is_refused_with_its_name() {
        let file = tempfile::NamedTempFile::new().expect("file");
        for folder in [file.path().to_owned(), PathBuf::from("/nowhere/at/all")] {
            let spec = ShareSpec {
                folder: folder.clone(),
                ..ShareSpec::default()
            };
            let error = SharedFolder::open_all(&[spec]).expect_err("no folder");
            assert!(error.to_string().contains(folder.to_str().expect("path")));
        }
    }
}
