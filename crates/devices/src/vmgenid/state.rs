use serde::{Deserialize, Serialize};

/// Everything about the device that a guest can observe. Any value is a valid one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmGenIdState {
    /// The identifier, byte by byte as in memory.
    pub id: [u8; 16],
    /// The guest has read an identifier, and so has one that may be out of date.
    pub known: bool,
}
