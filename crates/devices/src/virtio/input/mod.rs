//! The input device (section 5.8): a machine's power button.
//!
//! The guest needs nothing of ours to obey it: every Linux has the driver, and systemd-logind, acpid
//! and the like take KEY_POWER for the wish that it is.

mod config;
mod device;
mod state;

pub use device::PowerButton;
pub use state::InputState;
