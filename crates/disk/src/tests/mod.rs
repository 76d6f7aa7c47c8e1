//! Disks against a model in memory, against QEMU's tools, and against what goes wrong.

mod branch;
mod contents;
mod damage;
mod full;
mod merge;
mod overlay;
mod sharing;

use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clade_devices::virtio::GuestBuffer;
use clade_devices::virtio::block::{BlockBackend, BlockOperation};
use clade_engine::GuestRam;
use rustix::event::{PollFd, PollFlags, poll};
use vm_memory::{Bytes, GuestAddress};

use crate::{Disk, DiskError, Format};

const RAM: u64 = 0x8000_0000;
const RAM_SIZE: usize = 4 << 20;

fn ram() -> Arc<GuestRam> {
    Arc::new(GuestRam::from_ranges(&[(GuestAddress(RAM), RAM_SIZE)]).expect("memory"))
}

/// How long a program that another test has just started may hold what was closed here: between fork and exec
/// it has all files of this process, and their locks.
const BETWEEN_FORK_AND_EXEC: Duration = Duration::from_millis(500);

/// Opens a disk, which somebody may still hold for a moment.
fn open(path: &Path, format: Format, read_only: bool) -> Result<Disk, DiskError> {
    patiently(|| crate::open(path, format, read_only))
}

/// Does it, with disks that somebody may still hold for a moment.
fn patiently<T>(attempt: impl Fn() -> Result<T, DiskError>) -> Result<T, DiskError> {
    let began = Instant::now();
    loop {
        match attempt() {
            Err(DiskError::InUse { .. }) if began.elapsed() < BETWEEN_FORK_AND_EXEC => {
                thread::yield_now();
            }
            done => return done,
        }
    }
}

/// Does one operation, and waits for it.
fn perform(disk: &mut Disk, operation: BlockOperation) -> io::Result<()> {
    disk.begin(3, operation);
    disk.submit();
    loop {
        if let Some((tag, result)) = disk.completed() {
            assert_eq!(tag, 3);
            return result;
        }
        let ready = disk.ready().expect("it is complete at once");
        let mut descriptors = [PollFd::from_borrowed_fd(ready, PollFlags::IN)];
        poll(&mut descriptors, None).expect("poll");
    }
}

/// A buffer at the beginning of memory, in pieces of odd sizes.
fn buffer(ram: &Arc<GuestRam>, length: usize) -> GuestBuffer {
    let cuts = [0, length.min(1), length / 3, length / 2, length];
    let pieces = cuts.windows(2).map(|cut| {
        (
            GuestAddress(RAM + cut[0] as u64),
            (cut[1].max(cut[0]) - cut[0]) as u32,
        )
    });
    GuestBuffer::new(ram.clone(), pieces).expect("inside memory")
}

fn read(disk: &mut Disk, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let ram = ram();
    let buffer = buffer(&ram, length);
    perform(disk, BlockOperation::Read { offset, buffer })?;
    let mut bytes = vec![0; length];
    ram.read_slice(&mut bytes, GuestAddress(RAM))
        .expect("memory");
    Ok(bytes)
}

fn write(disk: &mut Disk, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let ram = ram();
    ram.write_slice(bytes, GuestAddress(RAM)).expect("memory");
    let operation = BlockOperation::Write {
        offset,
        buffer: buffer(&ram, bytes.len()),
        durable: offset.is_multiple_of(1024),
    };
    perform(disk, operation)
}

/// Runs one of QEMU's tools and returns whether it was content; none where it is not installed.
fn qemu(arguments: &[&str]) -> Option<bool> {
    let output = match Command::new(arguments[0]).args(&arguments[1..]).output() {
        Ok(output) => output,
        Err(error) => {
            println!("SKIPPED: no {}: {error}", arguments[0]);
            return None;
        }
    };
    println!("{arguments:?}: {output:?}");
    Some(output.status.success())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// A sequence of numbers that is the same in every run (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}
