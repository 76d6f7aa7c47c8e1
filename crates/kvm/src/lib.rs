//! The KVM engine: runs x86-64 vCPUs on the host's own processor, behind the engine contract.
//!
//! [`Device`] is `/dev/kvm`, opened; [`Kvm`] a machine's engine on it. KVM itself emulates the local
//! APICs, the I/O APIC and the two 8259s; port and memory-mapped accesses of the guest come out to
//! the machine's buses, on the vCPU's thread. [`examine`] tells whether this host's KVM is what its
//! name says: a processor that runs the guest, and not a program that interprets it.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod chips;
mod clock;
mod cpu;
mod device;
mod dirty;
mod doorbells;
mod engine;
mod interrupts;
mod ioctls;
mod kick;
mod memory;
mod msr;
mod probe;
mod run_page;
mod start;
mod state;
mod vcpu;

pub use chips::ChipsState;
pub use clade_engine::CpuModel;
pub use device::{Device, DeviceError};
pub use engine::{CPUS_MAX, Kvm, KvmConfig};
pub use ioctls::IOCTLS;
pub use probe::{Finding, Report, Verdict, examine, examine_device};
pub use start::{Gdt, Start};
