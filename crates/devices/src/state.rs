//! Why a saved state is refused.

/// A saved state that no device of this kind can have been in, or that belongs to a differently
/// built board. The device that refused it is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the saved state of the {device} cannot be used: {reason}; \
     restore it on a machine with the same devices, or use another snapshot"
)]
pub struct StateError {
    /// Which device refused.
    pub device: &'static str,
    /// What is wrong with the state.
    pub reason: String,
}

impl StateError {
    pub(crate) fn new(device: &'static str, reason: impl Into<String>) -> Self {
        StateError {
            device,
            reason: reason.into(),
        }
    }
}
