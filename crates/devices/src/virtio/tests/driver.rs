//! A small virtio driver, written from the specification.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use clade_engine::{GuestRam, IoBus};
use vm_memory::{Bytes, GuestAddress};

use super::{RAM, SLOT};
use crate::Bus;

pub(super) const ECAM: u64 = 0x3000_0000;
pub(super) const BAR: u64 = 0x4_0000_0000;

/// Capability ID of MSI-X.
pub(super) const MSIX_CAPABILITY: u64 = 0x11;

pub(super) const ACKNOWLEDGE: u8 = 1;
pub(super) const DRIVER: u8 = 2;
pub(super) const DRIVER_OK: u8 = 4;
pub(super) const FEATURES_OK: u8 = 8;
pub(super) const NEEDS_RESET: u8 = 64;

pub(super) const VERSION_1: u64 = 1 << 32;
pub(super) const EVENT_INDEX: u64 = 1 << 29;
pub(super) const INDIRECT: u64 = 1 << 28;
pub(super) const SIZE: u64 = 1;

pub(super) const NEXT: u16 = 1;
pub(super) const WRITE: u16 = 2;
pub(super) const INDIRECT_TABLE: u16 = 4;

/// Buffers for tests start here; rings are below.
pub(super) const BUFFERS: u64 = RAM + 0x4_0000;

pub(super) fn read(bus: &Bus, address: u64, length: usize) -> u64 {
    let mut data = [0; 8];
    bus.read(address, &mut data[..length]).unwrap();
    u64::from_le_bytes(data)
}

pub(super) fn write(bus: &Bus, address: u64, length: usize, value: u64) {
    bus.write(address, &value.to_le_bytes()[..length]).unwrap();
}

/// The address of a register in configuration space.
pub(super) fn config(slot: u8, register: u64) -> u64 {
    ECAM + (u64::from(slot) << 15) + register
}

/// Where a virtio structure is: capability offset, offset in the BAR, length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Structure {
    pub(super) capability: u64,
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// The driver's view of one function over PCI.
pub(super) struct Driver<'a> {
    pub(super) bus: &'a Bus,
    pub(super) structures: BTreeMap<u8, Structure>,
}

impl<'a> Driver<'a> {
    /// Finds the structures, puts the BAR in its place and enables memory decoding.
    pub(super) fn attach(bus: &'a Bus) -> Self {
        let driver = Driver {
            bus,
            structures: find_structures(bus),
        };
        write(bus, config(SLOT, 0x20), 4, BAR);
        write(bus, config(SLOT, 0x24), 4, BAR >> 32);
        write(bus, config(SLOT, 0x04), 2, 0x6);
        driver
    }

    pub(super) fn address(&self, structure: u8, offset: u64) -> u64 {
        BAR + self.structures[&structure].offset + offset
    }

    pub(super) fn get(&self, offset: u64, length: usize) -> u64 {
        read(self.bus, self.address(1, offset), length)
    }

    pub(super) fn set(&self, offset: u64, length: usize, value: u64) {
        write(self.bus, self.address(1, offset), length, value);
    }

    pub(super) fn status(&self) -> u8 {
        self.get(0x14, 1) as u8
    }

    pub(super) fn set_status(&self, status: u8) {
        self.set(0x14, 1, status.into());
    }

    pub(super) fn device_features(&self) -> u64 {
        let word = |select: u64| {
            self.set(0x00, 4, select);
            self.get(0x04, 4)
        };
        word(0) | word(1) << 32
    }

    pub(super) fn set_features(&self, features: u64) {
        for select in 0..2 {
            self.set(0x08, 4, select);
            self.set(0x0c, 4, features >> (32 * select) & 0xffff_ffff);
        }
    }

    /// Section 3.1.1, up to and with FEATURES_OK.
    pub(super) fn negotiate(&self, features: u64) {
        self.set_status(0);
        assert_eq!(self.status(), 0);
        self.set_status(ACKNOWLEDGE);
        self.set_status(ACKNOWLEDGE | DRIVER);
        self.set_features(features);
        self.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK);
        assert_eq!(self.status(), ACKNOWLEDGE | DRIVER | FEATURES_OK);
    }

    pub(super) fn enable(&self, index: u16, ring: &Ring) {
        self.set(0x16, 2, index.into());
        self.set(0x18, 2, ring.size.into());
        self.set(0x20, 4, ring.descriptors & 0xffff_ffff);
        self.set(0x24, 4, ring.descriptors >> 32);
        self.set(0x28, 8, ring.available);
        self.set(0x30, 8, ring.used);
        self.set(0x1c, 2, 1);
    }

    pub(super) fn notify(&self, queue: u16) {
        let address = self.address(2, 4 * u64::from(queue));
        write(self.bus, address, 2, queue.into());
    }

    pub(super) fn isr(&self) -> u8 {
        read(self.bus, self.address(3, 0), 1) as u8
    }

    /// All the way to DRIVER_OK, with a receive and a transmit ring.
    pub(super) fn start(&self, ram: &'a GuestRam, features: u64) -> [Ring<'a>; 2] {
        self.negotiate(features);
        let rings = [0, 1].map(|index| Ring::new(ram, RAM + 0x1_0000 * index, 16, features));
        self.enable(0, &rings[0]);
        self.enable(1, &rings[1]);
        self.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
        assert_eq!(
            self.status(),
            ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK
        );
        rings
    }
}

/// Walks the capability list (section 4.1.4); returns the structures by type.
fn find_structures(bus: &Bus) -> BTreeMap<u8, Structure> {
    let mut found = BTreeMap::new();
    assert_ne!(read(bus, config(SLOT, 0x06), 2) & 0x10, 0);
    let mut at = read(bus, config(SLOT, 0x34), 1);
    while at != 0 {
        let id = read(bus, config(SLOT, at), 1);
        if id == MSIX_CAPABILITY {
            at = read(bus, config(SLOT, at + 1), 1);
            continue;
        }
        assert_eq!(id, 9);
        let kind = read(bus, config(SLOT, at + 3), 1) as u8;
        let structure = Structure {
            capability: at,
            offset: read(bus, config(SLOT, at + 8), 4),
            length: read(bus, config(SLOT, at + 12), 4),
        };
        if kind != 5 {
            assert_eq!(read(bus, config(SLOT, at + 4), 1), 4);
        }
        assert!(found.insert(kind, structure).is_none());
        at = read(bus, config(SLOT, at + 1), 1);
    }
    found
}

/// One descriptor: address, length, flags, next.
pub(super) type Descriptor = (u64, u32, u16, u16);

/// The driver's side of a split virtqueue (section 2.7).
pub(super) struct Ring<'a> {
    pub(super) ram: &'a GuestRam,
    pub(super) size: u16,
    pub(super) descriptors: u64,
    pub(super) available: u64,
    pub(super) used: u64,
    offered: u16,
    taken: u16,
    event_index: bool,
}

impl<'a> Ring<'a> {
    pub(super) fn new(ram: &'a GuestRam, base: u64, size: u16, features: u64) -> Self {
        Ring {
            ram,
            size,
            descriptors: base,
            available: base + 0x4000,
            used: base + 0x8000,
            offered: 0,
            taken: 0,
            event_index: features & EVENT_INDEX != 0,
        }
    }

    /// The same ring in another memory.
    pub(super) fn moved<'b>(&self, ram: &'b GuestRam) -> Ring<'b> {
        Ring { ram, ..*self }
    }

    pub(super) fn describe(&self, index: u16, (address, length, flags, next): Descriptor) {
        write_descriptor(
            self.ram,
            self.descriptors + 16 * u64::from(index),
            (address, length, flags, next),
        );
    }

    /// Offers the chain that starts at `head`; returns whether the device wants to be notified.
    pub(super) fn offer(&mut self, head: u16) -> bool {
        let slot = self.available + 4 + 2 * u64::from(self.offered % self.size);
        self.store(slot, head);
        self.offered = self.offered.wrapping_add(1);
        self.store(self.available + 2, self.offered);
        if !self.event_index {
            return self.load(self.used) & 1 == 0;
        }
        let event = self.load(self.used + 4 + 8 * u64::from(self.size));
        event == self.offered.wrapping_sub(1)
    }

    /// Takes back a used chain: its head and how much was written.
    pub(super) fn take(&mut self) -> Option<(u32, u32)> {
        if self.load(self.used + 2) == self.taken {
            return None;
        }
        let slot = self.used + 4 + 8 * u64::from(self.taken % self.size);
        self.taken = self.taken.wrapping_add(1);
        let word = |address| self.ram.read_obj::<u32>(GuestAddress(address)).unwrap();
        Some((word(slot), word(slot + 4)))
    }

    /// How many chains the device has and has not given back.
    pub(super) fn outstanding(&self) -> u16 {
        self.offered.wrapping_sub(self.taken)
    }

    /// Asks for an interrupt when used index `index` is passed.
    pub(super) fn set_used_event(&self, index: u16) {
        self.store(self.available + 4 + 2 * u64::from(self.size), index);
    }

    pub(super) fn store(&self, address: u64, value: u16) {
        self.ram
            .store(value, GuestAddress(address), Ordering::SeqCst)
            .unwrap();
    }

    fn load(&self, address: u64) -> u16 {
        self.ram
            .load(GuestAddress(address), Ordering::SeqCst)
            .unwrap()
    }
}

pub(super) fn write_descriptor(
    ram: &GuestRam,
    at: u64,
    (address, length, flags, next): Descriptor,
) {
    let at = GuestAddress(at);
    ram.write_obj(address, at).unwrap();
    ram.write_obj(length, GuestAddress(at.0 + 8)).unwrap();
    ram.write_obj(flags, GuestAddress(at.0 + 12)).unwrap();
    ram.write_obj(next, GuestAddress(at.0 + 14)).unwrap();
}
