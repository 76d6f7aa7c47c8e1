use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Why the content of a file is refused. Says nothing of which file: [`crate::Error::Content`] does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// The operating system does not let it be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is something else, or its first bytes are damaged.
    #[error("Clade expects a {kind} here, and it is none")]
    Foreign {
        /// What was expected.
        kind: &'static str,
    },
    /// It is not what was once written.
    #[error("it is damaged: {reason}")]
    Damaged {
        /// What gives it away.
        reason: String,
    },
    /// Its version is beyond what this Clade knows.
    #[error(
        "it was made by a newer Clade: it is a {kind} of version {found}, and this Clade knows \
         version {known}; update Clade"
    )]
    Newer {
        /// What it is.
        kind: &'static str,
        /// Its version.
        found: u32,
        /// The version that is known.
        known: u32,
    },
    /// Its version is one that this Clade has forgotten.
    #[error(
        "it was made by an older Clade: it is a {kind} of version {found}, and this Clade knows \
         version {known}; use it with the Clade that made it"
    )]
    Older {
        /// What it is.
        kind: &'static str,
        /// Its version.
        found: u32,
        /// The version that is known.
        known: u32,
    },
}

impl ContentError {
    pub(crate) fn damaged(reason: impl Into<String>) -> Self {
        Self::Damaged {
            reason: reason.into(),
        }
    }

    pub(crate) fn no_match() -> Self {
        Self::damaged("its checksum does not match its content")
    }

    /// Only the version that is known will do.
    pub(crate) fn check_version(
        kind: &'static str,
        found: u32,
        known: u32,
    ) -> Result<(), ContentError> {
        match found.cmp(&known) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(Self::Newer { kind, found, known }),
            std::cmp::Ordering::Less => Err(Self::Older { kind, found, known }),
        }
    }
}

/// A file's whole content, if it is not longer than this.
pub(crate) fn read_whole(file: &File, longest: u64) -> Result<Vec<u8>, ContentError> {
    let length = file.metadata()?.len();
    if length > longest {
        let reason = format!("it has {length} bytes, more than {longest}");
        return Err(ContentError::damaged(reason));
    }
    let mut bytes = vec![0; length as usize];
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(ContentError::damaged("it became shorter while it was read"))
        }
        result => Ok(result.map(|()| bytes)?),
    }
}
