//! A board with a disk, and the driver's side of block requests.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use clade_engine::GuestRam;

use super::driver::{BUFFERS, Descriptor, Driver, NEXT, Ring, WRITE};
use super::{PluggedIn, Wakes, peek, plug_in, poke};
use crate::Bus;
use crate::testing::{Messages, Wire};
use crate::virtio::block::{BlockBackend, BlockInfo, BlockOperation, BlockOptions};
use crate::virtio::{VirtioBlock, VirtioPci};

/// Sectors of the disk.
pub(super) const SECTORS: u64 = 64;

/// Where the parts of a request are; there is room for 16 requests.
const HEADERS: u64 = BUFFERS;
const STATUSES: u64 = BUFFERS + 0x1000;
pub(super) const DATA: u64 = BUFFERS + 0x2000;

pub(super) const IN: u32 = 0;
pub(super) const OUT: u32 = 1;
pub(super) const FLUSH: u32 = 4;
pub(super) const GET_ID: u32 = 8;
pub(super) const DISCARD: u32 = 11;
pub(super) const WRITE_ZEROES: u32 = 13;

/// A status that no device writes.
pub(super) const UNTOUCHED: u8 = 0xee;

/// A disk in memory, as the test sees it.
#[derive(Default)]
pub(super) struct Medium {
    pub(super) bytes: Vec<u8>,
    /// What was done, in words.
    pub(super) done: Vec<String>,
    /// Nothing is done before this is taken back, or the disk drained.
    pub(super) held: bool,
    /// Done in reverse order.
    pub(super) reverse: bool,
    /// The host's disk is full.
    pub(super) full: bool,
    waiting: Vec<(u16, BlockOperation)>,
    completed: VecDeque<(u16, io::Result<()>)>,
}

impl Medium {
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn perform(&mut self, operation: &BlockOperation) -> io::Result<()> {
        match operation {
            BlockOperation::Read { offset, buffer } => {
                self.done.push(format!("read {offset} {}", buffer.len()));
                let at = *offset as usize;
                buffer.copy_from(&self.bytes[at..at + buffer.len() as usize]);
            }
            BlockOperation::Write {
                offset,
                buffer,
                durable,
            } => {
                let how = if *durable { "durably " } else { "" };
                self.done
                    .push(format!("{how}write {offset} {}", buffer.len()));
                if self.full {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let at = *offset as usize;
                buffer.copy_to(&mut self.bytes[at..at + buffer.len() as usize]);
            }
            BlockOperation::Flush => self.done.push("flush".into()),
            BlockOperation::Discard { offset, length } => {
                self.done.push(format!("discard {offset} {length}"));
            }
            BlockOperation::WriteZeroes {
                offset,
                length,
                unmap,
                ..
            } => {
                self.done.push(format!("zero {offset} {length} {unmap}"));
                self.bytes[*offset as usize..(offset + length) as usize].fill(0);
            }
        }
        Ok(())
    }

    fn work(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        if self.reverse {
            waiting.reverse();
        }
        for (tag, operation) in waiting {
            let result = self.perform(&operation);
            self.completed.push_back((tag, result));
        }
    }
}

pub(super) struct MemoryDisk {
    medium: Arc<Mutex<Medium>>,
    read_only: bool,
}

impl BlockBackend for MemoryDisk {
    fn info(&self) -> BlockInfo {
        BlockInfo {
            capacity: SECTORS * 512,
            read_only: self.read_only,
            discard_granularity: 4096,
        }
    }

    fn begin(&mut self, tag: u16, operation: BlockOperation) {
        self.medium.lock().unwrap().waiting.push((tag, operation));
    }

    fn submit(&mut self) {
        let mut medium = self.medium.lock().unwrap();
        if !medium.held {
            medium.work();
        }
    }

    fn completed(&mut self) -> Option<(u16, io::Result<()>)> {
        self.medium.lock().unwrap().completed.pop_front()
    }

    fn drain(&mut self) {
        self.medium.lock().unwrap().work();
    }
}

/// A board with guest memory, a PCI bus and a disk of two queues in slot 6.
pub(super) struct DiskBoard {
    pub(super) ram: Arc<GuestRam>,
    pub(super) wires: [Arc<Wire>; 4],
    pub(super) messages: Arc<Messages>,
    pub(super) medium: Arc<Mutex<Medium>>,
    pub(super) wakes: Arc<Wakes>,
    pub(super) device: Arc<VirtioBlock>,
    pub(super) function: Arc<VirtioPci>,
    pub(super) bus: Arc<Bus>,
}

pub(super) fn disk_board(read_only: bool) -> DiskBoard {
    let medium = Arc::new(Mutex::new(Medium {
        bytes: (0..SECTORS * 512).map(|at| (at / 512) as u8).collect(),
        ..Medium::default()
    }));
    let disk = MemoryDisk {
        medium: medium.clone(),
        read_only,
    };
    let options = BlockOptions {
        serial: "a serial number of 26 byte".into(),
        queues: 2,
    };
    let wakes = Arc::new(Wakes::default());
    let device = VirtioBlock::new(Box::new(disk), options, wakes.clone());
    let PluggedIn {
        ram,
        wires,
        messages,
        function,
        bus,
        ..
    } = plug_in(device.clone());
    DiskBoard {
        ram,
        wires,
        messages,
        medium,
        wakes,
        device,
        function,
        bus,
    }
}

impl DiskBoard {
    pub(super) fn interrupted(&self) -> bool {
        self.wires[2].level()
    }

    /// Puts a request's header and an untouched status byte into memory.
    pub(super) fn prepare(&self, place: u16, kind: u32, sector: u64) {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        poke(&self.ram, header_of(place), &header);
        poke(&self.ram, status_of(place), &[UNTOUCHED]);
    }

    pub(super) fn status(&self, place: u16) -> u8 {
        peek(&self.ram, status_of(place), 1)[0]
    }

    /// Offers a request of the usual shape in descriptors `3 * place` and following; `data` is
    /// address, length and flags. Does not notify.
    pub(super) fn offer(
        &self,
        ring: &mut Ring<'_>,
        place: u16,
        (kind, sector): (u32, u64),
        data: (u64, u32, u16),
    ) {
        self.prepare(place, kind, sector);
        let first = 3 * place;
        ring.describe(first, (header_of(place), 16, NEXT, first + 1));
        ring.describe(first + 1, (data.0, data.1, data.2 | NEXT, first + 2));
        ring.describe(first + 2, (status_of(place), 1, WRITE, 0));
        ring.offer(first);
    }

    /// Makes one request in queue 0, and returns its status and how much was written.
    pub(super) fn request(
        &self,
        driver: &Driver<'_>,
        ring: &mut Ring<'_>,
        what: (u32, u64),
        data: (u64, u32, u16),
    ) -> (u8, u32) {
        self.offer(ring, 0, what, data);
        driver.notify(0);
        assert!(!self.device.process());
        let (head, written) = ring.take().expect("it was given back");
        assert_eq!(head, 0);
        (self.status(0), written)
    }

    /// Offers a chain of any shape in queue 0, its header and status prepared by
    /// [`DiskBoard::prepare`] at place 0; returns what was given back.
    pub(super) fn chain(
        &self,
        driver: &Driver<'_>,
        ring: &mut Ring<'_>,
        chain: &[Descriptor],
    ) -> Option<(u32, u32)> {
        for (index, &descriptor) in (0..).zip(chain) {
            ring.describe(index, descriptor);
        }
        ring.offer(0);
        driver.notify(0);
        self.device.process();
        ring.take()
    }
}

pub(super) fn header_of(place: u16) -> u64 {
    HEADERS + 16 * u64::from(place)
}

pub(super) fn status_of(place: u16) -> u64 {
    STATUSES + u64::from(place)
}
