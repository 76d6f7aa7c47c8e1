use serde::{Deserialize, Serialize};

/// Everything about a virtio console that a guest can observe, but for what the transport keeps.
/// Any value is a valid one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleState {
    /// Width of the terminal in characters.
    pub columns: u16,
    /// Height of the terminal in characters.
    pub rows: u16,
    /// Counts the changes of the two.
    pub generation: u8,
}

impl Default for ConsoleState {
    fn default() -> Self {
        ConsoleState {
            columns: 80,
            rows: 25,
            generation: 0,
        }
    }
}
