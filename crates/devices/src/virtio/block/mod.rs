//! The block device (section 5.2): a disk.

mod backend;
mod config;
mod device;
mod in_flight;
mod request;
mod state;

pub use backend::{BlockBackend, BlockInfo, BlockOperation};
pub use device::{BlockOptions, VirtioBlock};
pub use state::BlockState;
