use std::io;
use std::path::{Path, PathBuf};

/// Why something could not be kept or read back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation on a file or folder.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb phrase: "write", "create folder".
        doing: &'static str,
        /// The file or folder it was done to.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// The file system has no room left.
    #[error(
        "cannot {doing} {}: the disk is full ({} free); free some space, or point XDG_CACHE_HOME \
         or XDG_DATA_HOME at a larger disk",
        path.display(),
        Bytes(*free)
    )]
    DiskFull {
        /// What was being done.
        doing: &'static str,
        /// The file being written.
        path: PathBuf,
        /// Bytes still free to this user there.
        free: u64,
    },
    /// A file is not what it was when it was written, or not what it should be.
    #[error("cannot use {}: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: crate::ContentError,
    },
    /// There is no snapshot that is called so.
    #[error("there is no snapshot {name:?}")]
    NoSnapshot {
        /// What was asked for.
        name: String,
    },
    /// Several snapshots have names that start so.
    #[error("{text:?} could be any of {}; say more of it", several.join(", "))]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// The names.
        several: Vec<String>,
    },
    /// There is one of this name already.
    #[error("there is a {name:?} already; remove it first, or choose another name")]
    SnapshotExists {
        /// The name.
        name: String,
    },
    /// Neither `HOME`, the password database nor an `XDG_*` variable says where to keep files.
    #[error("this user has no home folder; set HOME or {variable} to an absolute path")]
    NoHome {
        /// The XDG variable that would say where.
        variable: &'static str,
    },
    /// A folder that must be this user's alone is not.
    #[error("{} is not safe to use: {reason}; remove it, or set XDG_RUNTIME_DIR to a folder of your own", path.display())]
    Unsafe {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// Wraps an I/O error, telling a full disk apart.
    pub fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let free = crate::free_space(&path).unwrap_or(0);
                Self::DiskFull { doing, path, free }
            }
            _ => Self::Io {
                doing,
                path,
                source,
            },
        }
    }

    /// Names the file whose content is refused.
    pub fn content(path: &Path, source: crate::ContentError) -> Self {
        match source {
            crate::ContentError::Io(source) => Self::io("read", path, source),
            source => Self::Content {
                path: path.to_owned(),
                source,
            },
        }
    }
}

/// A number of bytes for people: `1.5 GiB`.
struct Bytes(u64);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
        if self.0 < 1024 {
            return write!(f, "{} bytes", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(f, "{value:.1} {}", UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart_and_says_what_is_free() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = Error::io("write", Path::new("/"), full);
        let text = error.to_string();
        assert!(matches!(error, Error::DiskFull { .. }));
        assert!(text.contains("cannot write /: the disk is full"), "{text}");
    }

    #[test]
    fn bytes_are_shown_in_the_largest_fitting_unit() {
        let shown = [0, 1023, 1024, 1 << 20, 3 << 29, 5 << 40].map(|n| Bytes(n).to_string());
        assert_eq!(
            shown,
            [
                "0 bytes",
                "1023 bytes",
                "1.0 KiB",
                "1.0 MiB",
                "1.5 GiB",
                "5.0 TiB"
            ]
        );
    }
}
