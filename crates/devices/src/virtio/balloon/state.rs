use serde::{Deserialize, Serialize};

/// Everything about a balloon that a guest can observe, but for what the transport keeps. Any value is
/// a valid one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalloonState {
    /// How many pages of 4 KiB the host wants to have.
    pub target: u32,
    /// How many of them the driver says that it has given.
    pub actual: u32,
}
