use serde::{Deserialize, Serialize};

use super::device::BYTES;
use crate::StateError;

/// Everything about the clock that a guest can observe, but for the time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CmosState {
    /// The register that is accessed next, below 128.
    pub index: u8,
    /// The 128 registers, as far as they hold what was written.
    pub bytes: Vec<u8>,
}

impl CmosState {
    /// Whether a clock can be in this state.
    pub(super) fn check(&self) -> Result<(), StateError> {
        if self.bytes.len() == BYTES && usize::from(self.index) < BYTES {
            return Ok(());
        }
        Err(StateError::new("CMOS", "there are other registers"))
    }
}

impl Default for CmosState {
    fn default() -> Self {
        Self {
            index: 0,
            bytes: vec![0; BYTES],
        }
    }
}
