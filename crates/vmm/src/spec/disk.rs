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
