//! Whatever is done to a disk, it holds what a model in memory holds.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use clade_devices::virtio::block::{BlockBackend, BlockOperation};

use super::{Numbers, open, perform, qemu, read, text, write};
use crate::file::RawDisk;
use crate::immediate::Immediate;
use crate::{Disk, Format, create_overlay};

const CAPACITY: u64 = 3 << 20;

/// Makes random changes to `disk`, which holds what `model` does, and compares all along.
fn exercise(disk: &mut Disk, model: &mut [u8], seed: u64) {
    let mut numbers = Numbers(seed);
    let sectors = CAPACITY / 512;
    for round in 0..400 {
        let offset = numbers.below(sectors) * 512;
        let length = (1 + numbers.below(300)) * 512;
        let length = length.min(CAPACITY - offset);
        let range = offset as usize..(offset + length) as usize;
        match numbers.below(6) {
            0..3 => {
                let fill = numbers.below(256) as u8;
                let bytes: Vec<u8> = (0..length).map(|at| fill ^ (at / 512) as u8).collect();
                write(disk, offset, &bytes).expect("written");
                model[range].copy_from_slice(&bytes);
            }
            3 => {
                let operation = BlockOperation::WriteZeroes {
                    offset,
                    length,
                    unmap: round % 2 == 0,
                    durable: round % 3 == 0,
                };
                perform(disk, operation).expect("zeroed");
                model[range].fill(0);
            }
            4 => {
                perform(disk, BlockOperation::Discard { offset, length }).expect("discarded");
                // What is there now is not promised, but that it stays so is.
                let found = read(disk, offset, length as usize).expect("read");
                model[range].copy_from_slice(&found);
            }
            _ => {
                let found = read(disk, offset, length as usize).expect("read");
                assert!(found == model[range], "round {round}: {offset} {length}");
            }
        }
        if round % 50 == 0 {
            perform(disk, BlockOperation::Flush).expect("flushed");
        }
    }
    perform(disk, BlockOperation::Flush).expect("flushed");
    assert!(read(disk, 0, CAPACITY as usize).expect("read") == *model);
}

fn raw_file(path: &Path) {
    File::create(path)
        .expect("file")
        .set_len(CAPACITY)
        .expect("length");
}

#[test]
fn a_raw_disk_holds_what_was_written() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("disk.img");
    raw_file(&path);
    let mut model = vec![0; CAPACITY as usize];
    let mut disk = open(&path, Format::Raw, false).expect("disk");
    if disk.ready().is_none() {
        println!("SKIPPED: this host has no io_uring that can be restricted");
    }
    assert_eq!(disk.info().capacity, CAPACITY);
    exercise(&mut disk, &mut model, 1);
    drop(disk);
    assert!(fs::read(&path).expect("file") == model);
    // Its size is what it was, and it goes on without io_uring.
    let file = File::options()
        .read(true)
        .write(true)
        .open(&path)
        .expect("file");
    let mut plain = Disk::new(
        &path,
        Immediate::new(RawDisk::new(file, CAPACITY, false)),
        None,
    );
    exercise(&mut plain, &mut model, 2);
    drop(plain);
    assert!(fs::read(&path).expect("file") == model);
}

#[test]
fn a_qcow2_disk_holds_what_was_written_and_qemu_agrees() {
    let folder = tempfile::tempdir().expect("folder");
    let base = folder.path().join("base.img");
    let base_bytes: Vec<u8> = (0..CAPACITY).map(|at| (at / 512 % 251) as u8).collect();
    fs::write(&base, &base_bytes).expect("base");
    let layer = folder.path().join("layer.qcow2");
    create_overlay(&layer, &base, Format::Raw, CAPACITY).expect("layer");

    let mut model = base_bytes.clone();
    let mut disk = open(&layer, Format::Qcow2, false).expect("disk");
    assert!(read(&mut disk, 0, CAPACITY as usize).expect("read") == model);
    exercise(&mut disk, &mut model, 3);
    drop(disk);
    let mut disk = open(&layer, Format::Qcow2, false).expect("disk again");
    exercise(&mut disk, &mut model, 4);
    drop(disk);
    assert!(
        fs::read(&base).expect("base") == base_bytes,
        "the base is as it was"
    );

    let flat = folder.path().join("flat.img");
    fs::write(&flat, &model).expect("flat");
    let compare = [
        "qemu-img",
        "compare",
        "-f",
        "qcow2",
        "-F",
        "raw",
        text(&layer),
        text(&flat),
    ];
    for command in [&["qemu-img", "check", text(&layer)][..], &compare] {
        assert_ne!(qemu(command), Some(false));
    }
}

#[test]
fn what_qemu_wrote_is_read() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name);
    let mut bytes = vec![0; CAPACITY as usize];
    for (index, byte) in bytes.iter_mut().enumerate().skip(300_000).take(900_000) {
        *byte = (index % 255) as u8;
    }
    fs::write(path("a.img"), &bytes).expect("raw");
    let (a, b, c) = (path("a.img"), path("b.qcow2"), path("c.qcow2"));
    // Compressed clusters, and a layer with a relative name and other sizes above them.
    let convert = [
        "qemu-img",
        "convert",
        "-c",
        "-O",
        "qcow2",
        text(&a),
        text(&b),
    ];
    if qemu(&convert).is_none() {
        return;
    }
    let options = "cluster_size=4k,extended_l2=off,compat=1.1";
    let create = [
        "qemu-img",
        "create",
        "-f",
        "qcow2",
        "-o",
        options,
        "-b",
        "b.qcow2",
        "-F",
        "qcow2",
        text(&c),
    ];
    assert_eq!(qemu(&create), Some(true));
    let change = [
        "qemu-io",
        "-f",
        "qcow2",
        "-c",
        "write -P 99 1M 64k",
        text(&c),
    ];
    assert_eq!(qemu(&change), Some(true));
    bytes[1 << 20..(1 << 20) + 65536].fill(99);

    let mut disk = open(&c, Format::Qcow2, true).expect("disk");
    assert!(read(&mut disk, 0, CAPACITY as usize).expect("read") == bytes);
    drop(disk);
    let mut disk = open(&c, Format::Qcow2, false).expect("disk");
    exercise(&mut disk, &mut bytes, 5);
    drop(disk);
    assert_eq!(qemu(&["qemu-img", "check", text(&c)]), Some(true));
    assert_eq!(qemu(&["qemu-img", "check", text(&b)]), Some(true));
}

#[test]
fn an_error_of_the_host_is_told_and_the_disk_goes_on() {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
    let file = memfd_create("disk", MemfdFlags::ALLOW_SEALING).expect("memfd");
    ftruncate(&file, 4096).expect("length");
    fcntl_add_seals(&file, SealFlags::GROW).expect("seal");
    let plain = RawDisk::new(file.into(), 8192, false);
    let mut disk = Disk::new(Path::new("memfd"), Immediate::new(plain), None);
    write(&mut disk, 0, &[1; 4096]).expect("there is room");
    assert!(write(&mut disk, 4096, &[2; 512]).is_err());
    let short = read(&mut disk, 3584, 1024).expect_err("the file ends");
    assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(read(&mut disk, 0, 4096).expect("read"), [1; 4096]);
}

#[test]
fn many_requests_are_under_way_at_once() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("disk.img");
    let bytes: Vec<u8> = (0..CAPACITY).map(|at| (at / 4096) as u8).collect();
    fs::write(&path, &bytes).expect("file");
    let mut disk = open(&path, Format::Raw, false).expect("disk");
    let ram = super::ram();
    for tag in 0..256u16 {
        let at = vm_memory::GuestAddress(super::RAM + u64::from(tag) * 4096);
        let pieces = [(at, 4096)].into_iter();
        let operation = match tag % 8 {
            7 => BlockOperation::Flush,
            _ => BlockOperation::Read {
                offset: u64::from(tag) * 4096,
                buffer: clade_devices::virtio::GuestBuffer::new(ram.clone(), pieces)
                    .expect("inside memory"),
            },
        };
        disk.begin(tag, operation);
    }
    disk.submit();
    disk.drain();
    let mut done: Vec<u16> = std::iter::from_fn(|| disk.completed())
        .map(|(tag, result)| {
            result.expect("done");
            tag
        })
        .collect();
    done.sort_unstable();
    assert_eq!(done, (0..256).collect::<Vec<_>>());
    for tag in (0..256u16).filter(|tag| tag % 8 != 7) {
        let mut page = [0; 4096];
        let at = vm_memory::GuestAddress(super::RAM + u64::from(tag) * 4096);
        vm_memory::Bytes::read_slice(&*ram, &mut page, at).expect("memory");
        assert_eq!(page, [tag as u8; 4096]);
    }
}
