//! The socket device (section 5.10): stream connections between guest and host.

mod connection;
mod credit;
mod device;
mod host;
mod inbox;
mod packet;
mod state;
mod switchboard;

pub use device::VirtioVsock;
pub use host::{VsockHost, VsockStream};
pub use state::VsockState;
