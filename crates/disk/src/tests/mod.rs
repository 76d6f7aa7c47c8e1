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
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

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

/// Held while a program starts: between fork and exec it has all files of this process, and their locks,
/// those among them that another test has just closed.
static STARTING: Mutex<()> = Mutex::new(());

/// Runs a program to its end.
fn output(command: &mut Command) -> io::Result<Output> {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = {
        let _starting = STARTING.lock();
        command.spawn()?
    };
    child.wait_with_output()
}

/// Waits until nobody holds what is closed by now.
fn await_closed() {
    drop(STARTING.lock());
}

/// Opens a disk, which was perhaps just closed.
fn open(path: &Path, format: Format, read_only: bool) -> Result<Disk, DiskError> {
    await_closed();
    crate::open(path, format, read_only)
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
    let output = match output(Command::new(arguments[0]).args(&arguments[1..])) {
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
