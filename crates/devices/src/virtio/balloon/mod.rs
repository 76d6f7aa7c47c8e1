//! The traditional memory balloon (section 5.5): guest memory that nobody uses goes back to the host.

mod device;
mod state;

pub use device::{MemoryReclaim, VirtioBalloon};
pub use state::BalloonState;
