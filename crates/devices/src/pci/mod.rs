//! PCI: a host bridge with one bus of up to 32 single-function devices, as QEMU's `virt` board
//! has it (`pci-host-ecam-generic`).
//!
//! The guest finds devices by configuration space, sizes their base address registers (BARs),
//! places them in the windows, and enables them; the bridge decodes addresses accordingly.
//!
//! Section numbers are those of the PCI Local Bus Specification 3.0.

mod config;
mod device;
mod host;
mod intx;
mod msix;
mod state;

pub use config::{Bar, BarKind, ConfigSpace, Identity};
pub use device::PciDevice;
pub use host::{PciError, PciHost, PciHostBuilder, PciInterrupts};
pub use msix::{Msix, MsixState, MsixVector};
pub use state::{FunctionState, PciState};

/// Devices on a bus, counting the host bridge, which is device 0.
pub const SLOTS: u8 = 32;

/// Where the bridge's ranges lie in guest physical addresses, each with its size in bytes. Those
/// of memory are the same on the bus; the port window begins with port 0.
pub mod layout {
    /// Configuration space (ECAM), 256 buses.
    pub const ECAM: (u64, u64) = (0x3000_0000, 0x1000_0000);
    /// Window for 32-bit memory BARs.
    pub const MEMORY_32: (u64, u64) = (0x4000_0000, 0x4000_0000);
    /// Window for 64-bit memory BARs.
    pub const MEMORY_64: (u64, u64) = (0x4_0000_0000, 0x4_0000_0000);
    /// Window for I/O ports.
    pub const PORTS: (u64, u64) = (0x300_0000, 0x1_0000);
}
