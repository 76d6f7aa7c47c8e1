//! The contract between a machine and whatever runs its virtual CPUs.
//!
//! A machine's board, its devices, snapshots and migration are written once, against this crate.
//! It holds traits and plain values only: an engine (`emulate`, `kvm`) stands behind them and is
//! the only code that knows how guest instructions are executed.
//!
//! The shape is that of a hardware hypervisor, so that KVM fits without change: an [`Engine`]
//! makes [`Vcpu`]s over guest memory and buses; [`Vcpu::run`] executes until something happens
//! that the machine's owner must know (an [`Exit`]); device accesses are served on the way
//! through an [`IoBus`]; interrupts come in by [`IrqLine`]s.

#![forbid(unsafe_code)]

mod bus;
mod clock;
mod cpu_model;
mod dirty;
mod vcpu;

pub use bus::{Doorbells, IoBus, IoDevice, IrqLine, MsiSink, Unmapped};
pub use clock::{Clock, Entropy};
pub use cpu_model::CpuModel;
pub use dirty::{DirtyPages, PageRun, harvest_dirty, push_page};
pub use vcpu::{Arch, Engine, EngineError, Exit, SystemEvent, Vcpu, VcpuHandle, VcpuState};

/// Guest memory as every engine and device sees it: regions of host memory by guest physical
/// address, each with a bitmap of the pages that were written since it was last harvested.
pub type GuestRam = vm_memory::GuestMemoryMmap<vm_memory::bitmap::AtomicBitmap>;

/// Size of a guest page in bytes, the unit of sharing and dirty tracking.
pub const PAGE_SIZE: u64 = 4096;
