use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A machine has so many shared folders at most.
pub const SHARES_MAX: usize = 8;

/// A folder of the host that the guest can mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareSpec {
    /// The folder.
    pub folder: PathBuf,
    /// The name by which the guest mounts it, at most 36 bytes.
    pub tag: String,
    /// Whether the guest may only read.
    pub read_only: bool,
}
