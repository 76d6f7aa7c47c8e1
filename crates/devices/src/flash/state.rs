use serde::{Deserialize, Serialize};

use super::status;

/// What a read of the flash gives, and what the next write means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FlashMode {
    /// Reads give the content.
    #[default]
    Array,
    /// Reads give the status register.
    Status,
    /// Reads give manufacturer, device and lock bits.
    Identity,
    /// Reads give the query structure.
    Query,
    /// The next write is data to program.
    Program,
    /// The next write is the number of words less one to buffer for the block at this offset.
    BufferCount {
        /// Offset of the block.
        block: u64,
    },
    /// The next writes are data, all within the block at this offset.
    Buffer {
        /// Offset of the block.
        block: u64,
        /// So many words are still to come.
        words: u32,
    },
    /// The next write confirms the buffered program.
    BufferConfirm,
    /// The next write confirms that a block is to be erased.
    Erase,
    /// The next write locks or unlocks a block, which has no effect.
    Lock,
}

/// Everything about the flash that a guest can observe but for its content, which is kept as a
/// disk's is. Any value is a valid one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlashState {
    /// What reads give and the next write means.
    pub mode: FlashMode,
    /// The status register.
    pub status: u8,
    /// Data that wait to be confirmed: offset and bytes.
    pub buffer: Vec<(u64, Vec<u8>)>,
}

impl Default for FlashState {
    fn default() -> Self {
        Self {
            mode: FlashMode::default(),
            status: status::READY,
            buffer: Vec::new(),
        }
    }
}
