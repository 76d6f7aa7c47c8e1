use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::DiskError;

/// The first bytes of every qcow2 file.
const QCOW2_MAGIC: [u8; 4] = *b"QFI\xfb";

/// How a disk's blocks lie in its file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One after the other.
    #[default]
    Raw,
    /// QEMU's format, perhaps above a backing file.
    Qcow2,
}

impl Format {
    /// Its name, as QEMU and the command line have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }

    /// The format of the disk at `path`, for somebody who did not say it. Its name decides, for a
    /// guest can write the beginning of another format onto a raw disk, naming whatever file of
    /// the host it would like to read as backing file.
    ///
    /// # Errors
    /// When the file cannot be read, or looks different from what its name says.
    pub fn detect(path: &Path) -> Result<Self, DiskError> {
        let file = File::open(path).map_err(|source| DiskError::open(path, source))?;
        let mut start = [0; QCOW2_MAGIC.len()];
        let looks_qcow2 = file.read_exact_at(&mut start, 0).is_ok() && start == QCOW2_MAGIC;
        let named_qcow2 = path
            .extension()
            .is_some_and(|extension| extension == "qcow2");
        match (named_qcow2, looks_qcow2) {
            (true, true) => Ok(Self::Qcow2),
            (false, false) => Ok(Self::Raw),
            _ => Err(DiskError::Ambiguous {
                path: path.to_owned(),
                looks: if looks_qcow2 { "one" } else { "none" },
            }),
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Self::Raw, Self::Qcow2]
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| format!("unknown disk format '{name}'; there are raw and qcow2"))
    }
}
