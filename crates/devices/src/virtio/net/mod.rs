//! The network device (section 5.1): one pair of queues, checksums and segmentation left to the
//! host, buffers that can be merged.

mod backend;
mod device;
mod receiver;
mod state;

pub use backend::{NetBackend, NetOffloads};
pub use device::VirtioNet;
pub use state::NetState;
