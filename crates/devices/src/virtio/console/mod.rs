//! The console device (section 5.3), with one port and the size of its terminal. One with several
//! ports is [`super::VirtioSerial`].

mod device;
mod state;
mod transmitter;

pub use device::VirtioConsole;
pub use state::ConsoleState;
