//! Virtual Machine Generation ID (`microsoft,vmgenid`): by it a guest learns that it is no longer the
//! only one with its memory, and that its random numbers would not be its own.
//!
//! Microsoft, "Virtual Machine Generation ID" (2018); for device trees the Linux binding
//! `rng/microsoft,vmgenid.yaml`, with an interrupt that is edge-triggered.

mod device;
mod state;

pub use device::{SIZE, VmGenId};
pub use state::VmGenIdState;
