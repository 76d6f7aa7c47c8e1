use std::io;
use std::path::{Path, PathBuf};

/// Why an image cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system is too small for its own structures, or larger than this crate writes.
    #[error(
        "an ext4 file system of {size} bytes cannot be made: it must have between 16 MiB and 16 TiB"
    )]
    Size {
        /// Bytes, as asked for.
        size: u64,
    },
    /// The blocks or inodes of the file system are used up.
    #[error("the file system in the image is full: no {what} is left; make it larger")]
    Full {
        /// What there is no more of.
        what: &'static str,
    },
    /// A path that names nothing inside the image.
    #[error("{} is not a path inside an image: {reason}", path.display())]
    Path {
        /// As given.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Something that must be there for this is not.
    #[error("the image has no {}", path.display())]
    Missing {
        /// What was looked for.
        path: PathBuf,
    },
    /// An entry has more or longer properties than ext4 can keep.
    #[error("{} cannot be kept by ext4: {reason}", path.display())]
    Unsupported {
        /// The entry.
        path: PathBuf,
        /// What ext4 cannot keep.
        reason: String,
    },
    /// The content of an entry cannot be read.
    #[error("the content of {} cannot be read: {source}", path.display())]
    Content {
        /// The entry.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The image file cannot be written or read back.
    #[error("the image file cannot be written: {0}")]
    Io(#[from] io::Error),
}

impl Error {
    pub(crate) fn path(path: &Path, reason: &'static str) -> Self {
        Self::Path {
            path: path.to_owned(),
            reason,
        }
    }

    pub(crate) fn unsupported(path: &Path, reason: impl Into<String>) -> Self {
        Self::Unsupported {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}
