use serde::{Deserialize, Serialize};

/// Everything about a disk's device that a guest can observe, but for what the transport keeps
/// and for the disk's contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockState {
    /// Size in bytes.
    pub capacity: u64,
    /// Nothing can be written.
    pub read_only: bool,
    /// Discarding works in units of so many bytes.
    pub discard_granularity: u32,
    /// The serial number, at most 20 bytes of ASCII.
    pub serial: String,
    /// Number of queues.
    pub queues: u16,
    /// Completed writes may be lost in a crash of the host until they are flushed; the driver
    /// chooses.
    pub write_back: bool,
}
