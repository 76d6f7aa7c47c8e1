//! PCI: a host bridge with one bus of up to 32 single-function devices, as QEMU's `virt` board
//! has it (`pci-host-ecam-generic`).
//!
//! The guest finds devices by configuration space, sizes their base address registers (BARs),
//! places them in the windows, and enables them; the bridge decodes addresses accordingly.
//!
//! Section numbers are those of the PCI Local Bus Specification 3.0.

mod config;
mod device;
mod doorbells;
mod host;
mod intx;
mod msix;
mod ports;
mod state;

pub use config::{Bar, BarKind, ConfigSpace, Identity};
pub use device::PciDevice;
pub use doorbells::Doorbell;
pub use host::{PciError, PciHost, PciHostBuilder, PciInterrupts, PlainFunction};
pub use msix::{Msix, MsixState, MsixVector};
pub use state::{FunctionState, PciState};

/// Devices on a bus, counting the host bridge, which is device 0.
pub const SLOTS: u8 = 32;

/// Where the bridge's ranges lie, each with its size in bytes. Those of memory are at the same
/// addresses for the guest's processors and on the bus; the port window begins with port 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PciLayout {
    /// Configuration space (ECAM), 1 MiB for each bus.
    pub configuration: (u64, u64),
    /// Window for 32-bit memory BARs.
    pub memory_32: (u64, u64),
    /// Window above 4 GiB for 64-bit memory BARs, where there is one.
    pub memory_64: Option<(u64, u64)>,
    /// Window for I/O ports, where there is one in memory.
    pub ports: Option<(u64, u64)>,
}

impl PciLayout {
    /// As on QEMU's `virt` board for RISC-V.
    pub const VIRT: Self = Self {
        configuration: (0x3000_0000, 0x1000_0000),
        memory_32: (0x4000_0000, 0x4000_0000),
        memory_64: Some((0x4_0000_0000, 0x4_0000_0000)),
        ports: Some((0x300_0000, 0x1_0000)),
    };
}
