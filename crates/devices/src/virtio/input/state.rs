use serde::{Deserialize, Serialize};

/// Everything about the power button that a guest can observe, but for what the transport keeps.
/// Any value is a valid one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputState {
    /// What the driver last asked the configuration structure for.
    pub select: u8,
    /// Which part of it.
    pub subselect: u8,
}
