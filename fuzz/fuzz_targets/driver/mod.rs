//! A driver that does what the fuzzer says to any virtio device over PCI.
//!
//! The input is a sequence of steps of 11 bytes: what to do, where, and a value. Queues of eight
//! descriptors lie at the beginning of memory; buffers may be anywhere, rings included.

// Each target uses a part of it.
#![allow(dead_code)]

use std::sync::Arc;

use clade_devices::pci::{PciHostBuilder, PciLayout};
use clade_devices::virtio::{VirtioDevice, VirtioPci, Waker};
use clade_devices::{Bus, BusBuilder};
use clade_engine::{GuestRam, IoBus, IrqLine, MsiSink};
use vm_memory::{Bytes, GuestAddress};

const RAM: u64 = 0x8000_0000;
const RAM_SIZE: usize = 1 << 16;
const ECAM: u64 = 0x3000_0000;
const BAR: u64 = 0x4_0000_0000;
const SLOT: u8 = 8;
/// The device's configuration space.
const CONFIG: u64 = ECAM + ((SLOT as u64) << 15);
/// The table of messages, and the register that says where it is.
const MESSAGES: u64 = 0x4000_0000;
const MESSAGES_BAR: u64 = 0x14;

/// Registers of the common configuration (section 4.1.4.3), and where queues are notified.
const FEATURE_SELECT: u64 = 0x00;
const FEATURES: u64 = 0x04;
const DRIVER_FEATURE_SELECT: u64 = 0x08;
const DRIVER_FEATURES: u64 = 0x0c;
const STATUS: u64 = 0x14;
const QUEUE_SELECT: u64 = 0x16;
const QUEUE_SIZE: u64 = 0x18;
const QUEUE_ENABLE: u64 = 0x1c;
const QUEUE_RINGS: [u64; 3] = [0x20, 0x28, 0x30];
const NOTIFY: u64 = 0x3000;

const SIZE: u64 = 8;

/// An interrupt that leads nowhere, by wire or message, and a waker that nobody listens to.
pub struct Nothing;

impl Waker for Nothing {
    fn wake(&self) {}
}

impl IrqLine for Nothing {
    fn set_level(&self, _asserted: bool) {}
}

impl MsiSink for Nothing {
    fn signal(&self, _address: u64, _data: u32) {}
}

/// Guest memory.
pub fn memory() -> Arc<GuestRam> {
    let ram = GuestRam::from_ranges(&[(GuestAddress(RAM), RAM_SIZE)]);
    Arc::new(ram.expect("memory"))
}

/// Where a queue's descriptors, available ring and used ring are.
fn rings(queue: u64) -> [u64; 3] {
    [0, 0x80, 0x100].map(|part| RAM + 0x200 * queue + part)
}

/// A board with one device.
pub struct Board {
    ram: Arc<GuestRam>,
    bus: Bus,
    queues: u64,
}

impl Board {
    /// Plugs in a device that has this many queues.
    pub fn new(device: Arc<dyn VirtioDevice>, queues: u64) -> Self {
        Self::beside(memory(), device, queues)
    }

    /// The same, for a device that knows the memory itself.
    pub fn beside(ram: Arc<GuestRam>, device: Arc<dyn VirtioDevice>, queues: u64) -> Self {
        let wires = [0; 4].map(|_| Arc::new(Nothing) as _);
        let mut pci = PciHostBuilder::new(wires).with_messages(Arc::new(Nothing));
        pci.plug(SLOT, |pin| VirtioPci::new(device, &ram, pin))
            .expect("a free slot");
        let mut bus = BusBuilder::new();
        pci.build().map(&mut bus, &PciLayout::VIRT).expect("room");
        let bus = bus.build();
        Self { ram, bus, queues }
    }

    /// Takes the steps one after the other; `work` does the device's, or something at the host's
    /// side, as its argument says.
    pub fn play(&self, steps: &[u8], mut work: impl FnMut(Work)) {
        self.start(u64::MAX);
        for step in steps.chunks_exact(11) {
            let place = u64::from(u16::from_le_bytes([step[1], step[2]]));
            let value = u64::from_le_bytes(step[3..].try_into().expect("eight bytes"));
            match step[0] % 10 {
                0 => self.start(value),
                1 => self.set(place % 0x4000, 1 << (value % 4), value),
                6 => self.write(CONFIG + place % 0x100, 1 << (value % 3), value),
                7 => self.write(MESSAGES + place % 0x1000, 1 << (value % 4), value),
                2 => work(Work::Device),
                3 => self.offer(place % self.queues, value as u16 % (SIZE as u16 + 1)),
                4 => self.set(NOTIFY + 4 * (place % self.queues), 2, place % self.queues),
                5 => work(Work::Host(value)),
                _ => {
                    // Beyond the end there is nothing to be written to.
                    let _ = self.ram.write_obj(value, GuestAddress(RAM + place));
                }
            }
        }
        work(Work::Device);
    }

    /// Resets the device and starts it with its queues and those of its features that `mask` has.
    fn start(&self, mask: u64) {
        for (register, length, value) in [
            (MESSAGES_BAR, 4, MESSAGES),
            (0x20, 4, BAR),
            (0x24, 4, BAR >> 32),
            (0x04, 2, 6),
        ] {
            self.write(CONFIG + register, length, value);
        }
        for status in [0, 3] {
            self.set(STATUS, 1, status);
        }
        for select in 0..2 {
            self.set(FEATURE_SELECT, 4, select);
            let mut offered = [0; 4];
            let _ = self.bus.read(BAR + FEATURES, &mut offered);
            // Without VIRTIO_F_VERSION_1 nothing would start.
            let mask = (mask >> (32 * select)) as u32 | select as u32;
            self.set(DRIVER_FEATURE_SELECT, 4, select);
            let accepted = u32::from_le_bytes(offered) & mask;
            self.set(DRIVER_FEATURES, 4, accepted.into());
        }
        self.set(STATUS, 1, 11);
        for queue in 0..self.queues {
            self.set(QUEUE_SELECT, 2, queue);
            self.set(QUEUE_SIZE, 2, SIZE);
            for (register, address) in QUEUE_RINGS.into_iter().zip(rings(queue)) {
                self.set(register, 8, address);
            }
            self.set(QUEUE_ENABLE, 2, 1);
        }
        self.set(STATUS, 1, 15);
    }

    /// Puts a chain into the available ring.
    fn offer(&self, queue: u64, head: u16) {
        let available = rings(queue)[1];
        let index: u16 = self.load(available + 2);
        self.store(available + 4 + 2 * (u64::from(index) % SIZE), head);
        self.store(available + 2, index.wrapping_add(1));
    }

    fn load(&self, address: u64) -> u16 {
        self.ram.read_obj(GuestAddress(address)).expect("memory")
    }

    fn store(&self, address: u64, value: u16) {
        self.ram
            .write_obj(value, GuestAddress(address))
            .expect("memory");
    }

    fn set(&self, register: u64, length: usize, value: u64) {
        self.write(BAR + register, length, value);
    }

    fn write(&self, address: u64, length: usize, value: u64) {
        // Where nothing is, nothing happens.
        let _ = self.bus.write(address, &value.to_le_bytes()[..length]);
    }
}

/// What is to be done between the driver's steps.
pub enum Work {
    /// What the device's thread does.
    Device,
    /// Something at the host's side, by a number of the fuzzer's.
    Host(u64),
}
