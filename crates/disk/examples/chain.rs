//! What the layers of a disk cost: the time to open chains of several lengths, and to read random
//! blocks that are in the lowest layer.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clade_devices::virtio::GuestBuffer;
use clade_devices::virtio::block::{BlockBackend, BlockOperation};
use clade_disk::{Disk, Format, create_overlay, open};
use clade_engine::GuestRam;
use vm_memory::{Bytes, GuestAddress};

const RAM: GuestAddress = GuestAddress(0x8000_0000);
const CAPACITY: u64 = 8 << 30;
/// What the lowest layer holds, at the beginning of the disk.
const FILLED: u64 = 256 << 20;
const BLOCK: u64 = 4096;
const READS: u64 = 100_000;

fn main() {
    println!("layers  open    branch  random 4 KiB read from the lowest layer");
    for layers in [1, 2, 5, 10, 30, 60, 250] {
        let folder = tempfile::tempdir().expect("folder");
        measure(folder.path(), layers);
    }
}

fn measure(folder: &Path, layers: usize) {
    let ram = Arc::new(GuestRam::from_ranges(&[(RAM, 1 << 20)]).expect("memory"));
    let base = folder.join("image.raw");
    let file = File::create(&base).expect("file");
    file.set_len(CAPACITY).expect("size");
    let layer = |number: usize| folder.join(format!("root-{number}.qcow2"));
    create_overlay(&layer(0), &base, Format::Raw, CAPACITY).expect("layer");
    let mut disk = open(&layer(0), Format::Qcow2, false).expect("disk");
    fill(&mut disk, &ram);
    let mut branching = Duration::MAX;
    for number in 1..layers {
        create_overlay(&layer(number), &layer(number - 1), Format::Qcow2, CAPACITY).expect("layer");
        let path = layer(number);
        let top = File::options().read(true).write(true).open(&path);
        let started = Instant::now();
        disk.branch(top.expect("file"), &path).expect("branched");
        branching = branching.min(started.elapsed());
        disk.settle().expect("settled");
        // A table of its own for each, as after some use.
        transfer(&mut disk, &ram, number as u64 * BLOCK, true);
    }
    drop(disk);

    let top = layer(layers - 1);
    let opening = (0..20).map(|_| {
        let started = Instant::now();
        let disk = open(&top, Format::Qcow2, false).expect("disk");
        let elapsed = started.elapsed();
        drop(disk);
        elapsed
    });
    let opening = opening.min().expect("several");
    let mut disk = open(&top, Format::Qcow2, false).expect("disk");
    let reading = (0..3).map(|_| read_randomly(&mut disk, &ram)).min();
    let branching = if layers > 1 {
        format!("{branching:.0?}")
    } else {
        "-".into()
    };
    println!(
        "{layers:6}  {opening:<6.0?}  {branching:<6}  {:.2?}",
        reading.expect("several")
    );
    fs::remove_dir_all(folder).expect("removed");
}

fn fill(disk: &mut Disk, ram: &Arc<GuestRam>) {
    ram.write_slice(&[5; 1 << 20], RAM).expect("memory");
    for at in (0..FILLED).step_by(1 << 20) {
        let pieces = [(RAM, 1 << 20)].into_iter();
        let buffer = GuestBuffer::new(ram.clone(), pieces).expect("inside memory");
        let write = BlockOperation::Write {
            offset: at,
            buffer,
            durable: false,
        };
        disk.begin(0, write);
        disk.completed().expect("at once").1.expect("written");
    }
}

fn read_randomly(disk: &mut Disk, ram: &Arc<GuestRam>) -> Duration {
    let mut number = 88_172_645_463_325_252_u64;
    let started = Instant::now();
    for _ in 0..READS {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        // Not the first megabyte, of which others have copies.
        let block = (1 << 20) / BLOCK + number % ((FILLED - (1 << 20)) / BLOCK);
        transfer(disk, ram, block * BLOCK, false);
    }
    started.elapsed() / READS as u32
}

fn transfer(disk: &mut Disk, ram: &Arc<GuestRam>, offset: u64, write: bool) {
    let pieces = [(RAM, BLOCK as u32)].into_iter();
    let buffer = GuestBuffer::new(ram.clone(), pieces).expect("inside memory");
    let operation = if write {
        BlockOperation::Write {
            offset,
            buffer,
            durable: false,
        }
    } else {
        BlockOperation::Read { offset, buffer }
    };
    disk.begin(0, operation);
    disk.completed().expect("at once").1.expect("done");
}
