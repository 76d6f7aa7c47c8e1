//! How vCPUs reach devices, and devices reach vCPUs.

use std::io;
use std::os::fd::BorrowedFd;

/// Nothing answers at this guest address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing answers at guest address {address:#x}")]
pub struct Unmapped {
    /// The guest physical address (or port) of the access.
    pub address: u64,
}

/// An address space of devices: memory-mapped I/O, or x86 ports.
///
/// An engine calls it from vCPU threads, several at once. `data` is 1 to 8 bytes long and
/// little-endian.
pub trait IoBus: Send + Sync {
    /// Reads `data.len()` bytes at `address`.
    ///
    /// # Errors
    /// [`Unmapped`] when no device claims the whole range; the engine turns it into what the
    /// architecture does then (an access fault on RISC-V, all ones on x86).
    fn read(&self, address: u64, data: &mut [u8]) -> Result<(), Unmapped>;

    /// Writes `data` at `address`.
    ///
    /// # Errors
    /// [`Unmapped`] as for [`IoBus::read`].
    fn write(&self, address: u64, data: &[u8]) -> Result<(), Unmapped>;
}

/// A device that claims a range of an [`IoBus`].
///
/// Offsets are relative to the range's start, and already checked to lie within it. An access
/// that the device does not implement reads as zeroes and writes nothing: a guest can provoke it
/// at will, so it is not an error.
pub trait IoDevice: Send + Sync {
    /// Reads `data.len()` (1 to 8) bytes at `offset`.
    fn read(&self, offset: u64, data: &mut [u8]);

    /// Writes `data` (1 to 8 bytes) at `offset`.
    fn write(&self, offset: u64, data: &[u8]);
}

/// Where devices write their message-signalled interrupts.
pub trait MsiSink: Send + Sync {
    /// A device writes the 32 bits `data` at guest physical address `address`. Only an interrupt
    /// controller listens: what is written elsewhere, to memory above all, is lost.
    fn signal(&self, address: u64, data: u32);
}

/// One level-triggered interrupt wire, from a device to an interrupt controller or from there to
/// a vCPU. Setting the level it already has is allowed and does nothing.
pub trait IrqLine: Send + Sync {
    /// Drives the wire.
    fn set_level(&self, asserted: bool);
}

/// Stores of the guest's that only wake a thread, and for which an engine need not leave the guest.
pub trait Doorbells: Send + Sync {
    /// From now on a store of any width at guest physical address `address` adds one to `event`, an
    /// eventfd, in place of reaching the [`IoBus`]. Loads still do.
    ///
    /// # Errors
    /// When the host refuses, or there is one at this address. Then stores reach the bus.
    fn connect(&self, address: u64, event: BorrowedFd<'_>) -> io::Result<()>;

    /// Undoes [`Doorbells::connect`] with the same arguments.
    fn disconnect(&self, address: u64, event: BorrowedFd<'_>);
}
