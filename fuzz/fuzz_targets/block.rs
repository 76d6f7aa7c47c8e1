//! The disk's device: whatever a driver puts into memory and registers, nothing panics or hangs,
//! and the disk is asked for nothing that it does not have.
//!
//! `cargo +nightly fuzz run block`
//!
//! The input is a sequence of steps of 11 bytes: what to do, where, and a value.

#![no_main]

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use clade_devices::BusBuilder;
use clade_devices::pci::PciHostBuilder;
use clade_devices::virtio::block::{BlockBackend, BlockInfo, BlockOperation, BlockOptions};
use clade_devices::virtio::{VirtioBlock, VirtioPci, Waker};
use clade_engine::{GuestRam, IoBus, IrqLine};
use libfuzzer_sys::fuzz_target;
use vm_memory::{Bytes, GuestAddress};

const RAM: u64 = 0x8000_0000;
const RAM_SIZE: usize = 1 << 16;
const ECAM: u64 = 0x3000_0000;
const BAR: u64 = 0x4_0000_0000;
const SLOT: u64 = 8;
const CAPACITY: u64 = 1 << 14;

/// Rings are at the beginning of memory; requests have the rest.
const RINGS: [u64; 3] = [RAM, RAM + 0x100, RAM + 0x200];

struct Nothing;

impl Waker for Nothing {
    fn wake(&self) {}
}

impl IrqLine for Nothing {
    fn set_level(&self, _asserted: bool) {}
}

/// Checks what it is asked for, and does it when the next is asked for.
#[derive(Default)]
struct Disk {
    waiting: Vec<(u16, BlockOperation)>,
    completed: VecDeque<(u16, io::Result<()>)>,
}

impl BlockBackend for Disk {
    fn info(&self) -> BlockInfo {
        BlockInfo {
            capacity: CAPACITY,
            read_only: false,
            discard_granularity: 512,
        }
    }

    fn begin(&mut self, tag: u16, operation: BlockOperation) {
        let (offset, length) = match &operation {
            BlockOperation::Read { offset, buffer } => (*offset, buffer.len()),
            BlockOperation::Write { offset, buffer, .. } => (*offset, buffer.len()),
            BlockOperation::Flush => (0, 0),
            BlockOperation::Discard { offset, length } => (*offset, *length),
            BlockOperation::WriteZeroes { offset, length, .. } => (*offset, *length),
        };
        assert!(offset + length <= CAPACITY, "beyond the disk's end");
        assert!(
            offset.is_multiple_of(512) && length.is_multiple_of(512),
            "no whole sectors"
        );
        assert!(
            self.waiting.iter().all(|(other, _)| *other != tag),
            "a tag twice"
        );
        self.drain();
        self.waiting.push((tag, operation));
    }

    fn submit(&mut self) {}

    fn completed(&mut self) -> Option<(u16, io::Result<()>)> {
        self.completed.pop_front()
    }

    fn drain(&mut self) {
        for (tag, operation) in self.waiting.drain(..) {
            if let BlockOperation::Read { buffer, .. } = operation {
                buffer.zero();
            }
            self.completed.push_back((tag, Ok(())));
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let ram = GuestRam::from_ranges(&[(GuestAddress(RAM), RAM_SIZE)]).expect("memory");
    let ram = Arc::new(ram);
    let options = BlockOptions {
        serial: "fuzz".into(),
        queues: 1,
    };
    let device = VirtioBlock::new(Box::new(Disk::default()), options, Arc::new(Nothing));
    let mut pci = PciHostBuilder::new([0; 4].map(|_| Arc::new(Nothing) as _));
    pci.plug(SLOT as u8, |pin| VirtioPci::new(device.clone(), &ram, pin))
        .expect("a free slot");
    let mut bus = BusBuilder::new();
    pci.build().map(&mut bus).expect("room");
    let bus = bus.build();
    let set = |address: u64, length: usize, value: u64| {
        let _ = bus.write(address, &value.to_le_bytes()[..length]);
    };
    let start = || {
        for (register, length, value) in [(0x20, 4, BAR), (0x24, 4, BAR >> 32), (0x04, 2, 6)] {
            set(ECAM + (SLOT << 15) + register, length, value);
        }
        let steps = [
            (0x14, 1, 0),
            (0x14, 1, 3),
            (0x08, 4, 1),
            (0x0c, 4, 1),
            (0x08, 4, 0),
        ];
        // Flush, choice of the write cache, event indices, indirect descriptors.
        let features = [
            (0x0c, 4, 1 << 9 | 1 << 11 | 1 << 28 | 1 << 29),
            (0x14, 1, 11),
        ];
        let queue = [
            (0x18, 2, 8),
            (0x20, 8, RINGS[0]),
            (0x28, 8, RINGS[1]),
            (0x30, 8, RINGS[2]),
        ];
        let ready = [(0x1c, 2, 1), (0x14, 1, 15)];
        let all = steps.iter().chain(&features).chain(&queue).chain(&ready);
        all.for_each(|&(register, length, value)| set(BAR + register, length, value));
    };
    start();
    for step in bytes.chunks_exact(11) {
        let place = u64::from(u16::from_le_bytes([step[1], step[2]]));
        let value = u64::from_le_bytes(step[3..11].try_into().expect("eight bytes"));
        match step[0] % 8 {
            0 => start(),
            1 => set(BAR + place % 0x4000, 1 << (value % 4), value),
            2 => while device.process() {},
            3 => {
                // The next buffer of the ring.
                let index: u16 = ram.read_obj(GuestAddress(RINGS[1] + 2)).expect("memory");
                let slot = RINGS[1] + 4 + 2 * u64::from(index % 8);
                ram.write_obj(value as u16 % 9, GuestAddress(slot))
                    .expect("memory");
                let next = index.wrapping_add(1);
                ram.write_obj(next, GuestAddress(RINGS[1] + 2))
                    .expect("memory");
            }
            _ => {
                let _ = ram.write_obj(value, GuestAddress(RAM + place));
            }
        }
    }
    while device.process() {}
    let state = device.save();
    device.restore(&state).expect("its own state");
});
