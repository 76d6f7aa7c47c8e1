use std::io;
use std::path::{Path, PathBuf};

use crate::qcow2::DEPTH_MAX;

/// Why a disk cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The file cannot be opened, or not for writing.
    #[error("cannot open the disk {path}: {source}{advice}", path = path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The host's answer.
        source: io::Error,
        /// What to do about it.
        advice: &'static str,
    },
    /// It is a folder, a pipe, or some other thing that is no disk.
    #[error("{path} is {what}, not a disk; name a file or a block device", path = path.display())]
    NoDisk {
        /// The file.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Another process works with it.
    #[error(
        "the disk {path} is in use by another machine or program, and two that write would ruin \
         it; stop the other one, or have all of them only read it (`--disk {path},ro`)",
        path = path.display()
    )]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// Not a whole number of sectors.
    #[error(
        "the disk {path} has {size} bytes, which is no multiple of 512: a part of it may be \
         missing; `truncate --size=%512 {path}` fills up the last block",
        path = path.display()
    )]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// Name and contents disagree about the format.
    #[error(
        "{path} begins like {looks} of qcow2's files, and its name says otherwise; say which it \
         is with `--disk {path},format=qcow2` or `--disk {path},format=raw`",
        path = path.display()
    )]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// "one" or "none".
        looks: &'static str,
    },
    /// The qcow2 file is damaged, or uses what is not supported.
    #[error(
        "the qcow2 disk {path} cannot be used: {source}; `qemu-img check {path}` tells what is \
         wrong with it",
        path = path.display()
    )]
    Qcow2 {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// The chain of backing files does not end.
    #[error(
        "a disk can have {limit} layers, and that of {path} has as many already, or stands on itself; \
         of a machine, those that no snapshot and no clone has become one when it starts or is resumed; \
         `qemu-img convert` makes one file of any",
        path = path.display()
    )]
    Chain {
        /// The file.
        path: PathBuf,
        /// Most files in a chain.
        limit: usize,
    },
    /// A backing file is not there or not usable.
    #[error("the disk {path} stands on another: {source}", path = path.display())]
    Backing {
        /// The file above.
        path: PathBuf,
        /// What is wrong with the one below.
        source: Box<DiskError>,
    },
    /// A new file cannot be made.
    #[error("cannot make the disk {path}: {source}", path = path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// It is raw, so that nothing can be put above it.
    #[error(
        "the disk {path} is raw, and what a machine writes to it cannot be kept apart from what is \
         there; give the machine a layer above it in its place, which `qemu-img create -f qcow2 -F \
         raw -b {path} LAYER.qcow2` makes, or let it only read the disk (`--disk {path},ro`)",
        path = path.display()
    )]
    Raw {
        /// The file.
        path: PathBuf,
    },
    /// A file that is no empty layer for the disk that it was to be put above.
    #[error(
        "{path} cannot be put above {below}: {reason}",
        path = path.display(), below = below.display()
    )]
    Unfit {
        /// The file.
        path: PathBuf,
        /// The disk's topmost file.
        below: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The rest of a layer cannot be written to the host's disk.
    #[error("cannot write all of the disk's layer {path}: {source}", path = path.display())]
    Settle {
        /// The layer.
        path: PathBuf,
        /// The host's answer.
        source: io::Error,
    },
}

impl DiskError {
    pub(crate) fn qcow2(path: &Path, source: io::Error) -> Self {
        Self::Qcow2 {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn too_deep(path: &Path) -> Self {
        Self::Chain {
            path: path.to_owned(),
            limit: DEPTH_MAX,
        }
    }

    pub(crate) fn open(path: &Path, source: io::Error) -> Self {
        let advice = match source.kind() {
            io::ErrorKind::NotFound => "; `truncate --size=8G FILE` makes an empty one",
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                "; a disk that is only read is given with `,ro` behind its name"
            }
            _ => "",
        };
        Self::Open {
            path: path.to_owned(),
            source,
            advice,
        }
    }
}
