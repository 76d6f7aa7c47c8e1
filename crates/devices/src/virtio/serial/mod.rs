//! Serial ports with names: a console device (section 5.3) with several ports, none of which is a
//! console.
//!
//! The machine's console is a device of its own, [`super::VirtioConsole`]. It could be port 0 here, but
//! Linux takes a terminal's size from configuration space only where there is one port, and
//! versions of it disagree about the order of the fields of `VIRTIO_CONSOLE_RESIZE`. Port 0 is left
//! out, as other monitors do it.

mod device;
mod host;
mod message;
mod port;
mod state;

pub use device::{PORTS_MAX, VirtioSerial};
pub use host::SerialHost;
pub use state::{PortState, SerialState};
