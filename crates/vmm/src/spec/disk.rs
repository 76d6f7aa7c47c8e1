use std::path::PathBuf;

use clade_disk::Format;
use serde::{Deserialize, Serialize};

/// Most disks of a machine.
pub const DISKS_MAX: usize = 16;

/// A block device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskSpec {
    /// The file that holds the blocks.
    pub path: PathBuf,
    /// The file's format.
    pub format: Format,
    /// Whether the guest may only read.
    #[serde(default)]
    pub read_only: bool,
    /// What the guest finds as the disk's serial number, at most 20 bytes.
    #[serde(default)]
    pub serial: String,
}

/// What becomes of a write for which the host's own disk has no space left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFullDisk {
    /// The guest sees an I/O error.
    #[default]
    Error,
    /// It waits, and so does who needs it in the guest, until there is space.
    Wait,
}

impl OnFullDisk {
    /// Every one, in the order in which people are told of them.
    pub const ALL: [Self; 2] = [Self::Error, Self::Wait];

    /// Its name, as the command line and the spec have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Wait => "wait",
        }
    }
}
