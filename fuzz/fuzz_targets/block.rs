//! The disk's device: whatever a driver puts into memory and registers, nothing panics or hangs,
//! and the disk is asked for nothing that it does not have.
//!
//! `cargo +nightly fuzz run block`

#![no_main]

mod driver;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use clade_devices::virtio::VirtioBlock;
use clade_devices::virtio::block::{BlockBackend, BlockInfo, BlockOperation, BlockOptions};
use driver::{Board, Nothing};
use libfuzzer_sys::fuzz_target;

const CAPACITY: u64 = 1 << 14;

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
    let options = BlockOptions {
        serial: "fuzz".into(),
        queues: 2,
    };
    let device = VirtioBlock::new(Box::new(Disk::default()), options, Arc::new(Nothing));
    Board::new(device.clone(), 2).play(bytes, |_| while device.process() {});
    let state = device.save();
    device.restore(&state).expect("its own state");
});
