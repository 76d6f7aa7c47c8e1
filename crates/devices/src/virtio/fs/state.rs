use serde::{Deserialize, Serialize};

/// Everything about a file system device that a guest can observe, but for what the transport and
/// the backend keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FsState {
    /// The name by which the guest mounts it.
    pub tag: String,
}
