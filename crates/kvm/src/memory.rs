//! Guest RAM as KVM has it: one slot for each region.

use std::sync::Arc;

use clade_engine::{EngineError, GuestRam, PAGE_SIZE};
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::VmFd;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use crate::engine::refused;

/// A region of guest RAM.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) number: u32,
    pub(crate) start: u64,
    pub(crate) size: u64,
    /// Its address in this process.
    pub(crate) host: u64,
}

/// Guest RAM, and where it is in this process. KVM keeps the addresses, so this lives as long as the
/// virtual machine.
pub(crate) struct Memory {
    pub(crate) ram: Arc<GuestRam>,
    pub(crate) slots: Vec<Slot>,
}

impl Memory {
    /// Gives the virtual machine its memory.
    pub(crate) fn give(vm: &VmFd, ram: Arc<GuestRam>) -> Result<Self, EngineError> {
        let slots = (0..).zip(ram.iter()).map(|(number, region)| Slot {
            number,
            start: region.start_addr().0,
            size: region.len(),
            host: region.get_mmap().as_ptr() as u64,
        });
        let slots = slots.collect::<Vec<_>>();
        for slot in &slots {
            slot.set(vm, 0)?;
        }
        Ok(Self { ram, slots })
    }
}

impl Slot {
    pub(crate) fn pages(&self) -> usize {
        (self.size / PAGE_SIZE) as usize
    }

    /// Makes the slot, or changes its flags.
    pub(crate) fn set(&self, vm: &VmFd, flags: u32) -> Result<(), EngineError> {
        let region = kvm_userspace_memory_region {
            slot: self.number,
            flags,
            guest_phys_addr: self.start,
            memory_size: self.size,
            userspace_addr: self.host,
        };
        // SAFETY: all of the region is a mapping of guest RAM, which `Memory` keeps for as long as the
        // virtual machine exists, and which Rust code only accesses by volatile or atomic means.
        unsafe { vm.set_user_memory_region(region) }.map_err(refused("to give a machine memory"))
    }
}
