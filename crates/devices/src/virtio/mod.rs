//! Virtio devices and their transports.
//!
//! A [`VirtioDevice`] knows nothing of how its driver reaches it: over PCI ([`VirtioPci`]) or
//! memory-mapped I/O ([`VirtioMmio`]). It is handed [`VirtQueue`]s, from which it pops the
//! driver's buffers and to which it pushes them back when used. Devices whose work may take time
//! do it on a thread of the machine's, which a [`Waker`] tells of the driver's notifications.
//!
//! Section numbers are those of the Virtual I/O Device (VIRTIO) Specification 1.2. Only what is
//! called "modern" there is offered: no legacy interface.

mod buffer;
mod device;
mod mmio;
mod pci;
mod queue;
mod signals;
mod state;
#[cfg(test)]
mod tests;
mod transport;

pub mod balloon;
pub mod block;
pub mod console;
pub mod fs;
pub mod input;
pub mod net;
pub mod rng;
pub mod serial;
pub mod vsock;

pub use balloon::VirtioBalloon;
pub use block::VirtioBlock;
pub use buffer::{GuestBuffer, GuestSlice};
pub use console::VirtioConsole;
pub use device::{Activation, VirtioDevice};
pub use fs::VirtioFs;
pub use input::PowerButton;
pub use mmio::VirtioMmio;
pub use net::{NetBackend, NetOffloads, VirtioNet};
pub use pci::VirtioPci;
pub use queue::{BadChain, Chain, VirtQueue};
pub use rng::VirtioRng;
pub use serial::VirtioSerial;
pub use signals::Signals;
pub use state::{DeviceState, QueueState, TransportState, VirtioState};
pub use vsock::VirtioVsock;

pub use crate::waker::Waker;
