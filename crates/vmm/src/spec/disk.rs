use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How a disk's blocks lie in its file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// One after the other.
    #[default]
    Raw,
    /// QEMU's format, perhaps above a backing file.
    Qcow2,
}

/// A block device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiskSpec {
    /// The file that holds the blocks.
    pub path: PathBuf,
    /// The file's format.
    pub format: DiskFormat,
    /// Whether the guest may only read.
    pub read_only: bool,
    /// What the guest finds as the disk's serial number, at most 20 bytes.
    pub serial: String,
}
