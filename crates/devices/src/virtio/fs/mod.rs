//! The file system device (section 5.11): a folder that the host keeps, by requests of the FUSE
//! protocol, which the device passes on as they are.

mod backend;
mod device;
mod state;

pub use backend::FsBackend;
pub use device::{TAG_MAX, VirtioFs};
pub use state::FsState;
