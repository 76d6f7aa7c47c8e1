//! Buses and devices of the board, each with a plain state.
//!
//! A device is built over what it needs of the host (an interrupt wire, a clock, a console), and
//! is reached by the guest as a [`clade_engine::IoDevice`] on a [`Bus`]. Its `save()` returns
//! everything about it that a guest can observe as a plain value; its `restore()` puts such a
//! value into a device built in the same way, or refuses it and changes nothing.
//!
//! Save and restore want a machine at rest: vCPUs stopped, and no host thread inside a device.
//!
//! Locks are taken in one order: device, then queue, then interrupt wire, then interrupt
//! controller, then vCPU; never back. No lock is held while the host's side of a console is
//! called, for it may call back.

#![forbid(unsafe_code)]

mod bus;
mod console;
mod little_endian;
mod state;
mod sync;
mod waker;

pub mod acpi;
pub mod aplic;
pub mod cmos;
pub mod flash;
pub mod fw_cfg;
pub mod i8042;
pub mod pci;
pub mod plic;
pub mod rtc;
pub mod syscon;
pub mod uart;
pub mod virtio;
pub mod vmgenid;

#[cfg(test)]
mod testing;

pub use acpi::{AcpiEvents, PmControl, PmTimer, PowerRegisters};
pub use aplic::Aplic;
pub use bus::{Bus, BusBuilder, Overlap};
pub use cmos::Cmos;
pub use console::{ConsoleHost, ConsolePort};
pub use flash::Flash;
pub use fw_cfg::FwCfg;
pub use i8042::I8042;
pub use plic::Plic;
pub use rtc::Rtc;
pub use state::StateError;
pub use syscon::Syscon;
pub use uart::Uart;
pub use vmgenid::VmGenId;
pub use waker::Waker;
