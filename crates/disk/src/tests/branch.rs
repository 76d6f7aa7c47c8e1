//! A disk goes on above what it was, which stays.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use clade_devices::virtio::block::{BlockBackend, BlockOperation};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::{Numbers, open, perform, qemu, read, text, write};
use crate::{Branching, Disk, DiskError, Format, capacity, create_overlay};

pub(super) const CAPACITY: u64 = 3 << 20;

/// A folder with a disk in it, whose topmost layer is the one with the highest number.
struct Machine {
    folder: tempfile::TempDir,
    layers: usize,
    disk: Disk,
}

impl Machine {
    fn new(bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let base = folder.path().join("image.raw");
        fs::write(&base, bytes).expect("base");
        let top = layer(folder.path(), 0);
        let size = capacity(&base, Format::Raw).expect("size");
        create_overlay(&top, Path::new("image.raw"), Format::Raw, size).expect("layer");
        let disk = open(&top, Format::Qcow2, false).expect("disk");
        Self {
            folder,
            layers: 0,
            disk,
        }
    }

    fn layer(&self, number: usize) -> PathBuf {
        layer(self.folder.path(), number)
    }

    /// Makes the next layer, which the disk does not know of yet.
    fn next(&self) -> PathBuf {
        let (top, next) = (self.layer(self.layers), self.layer(self.layers + 1));
        let size = capacity(&top, Format::Qcow2).expect("size of a disk in use");
        let name = Path::new(top.file_name().expect("name"));
        create_overlay(&next, name, Format::Qcow2, size).expect("layer");
        next
    }

    /// Goes on above; returns the file of before.
    fn branch(&mut self) -> PathBuf {
        let next = self.next();
        assert_eq!(self.disk.branching().expect("possible"), Branching::Branch);
        self.disk.branch(writable(&next), &next).expect("branched");
        self.layers += 1;
        self.layer(self.layers - 1)
    }
}

pub(super) fn layer(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("root-{number}.qcow2"))
}

fn writable(path: &Path) -> File {
    let mut options = File::options();
    options.read(true).write(true).open(path).expect("file")
}

/// Changes the disk, and the model with it.
pub(super) fn change(disk: &mut Disk, model: &mut [u8], numbers: &mut Numbers) {
    for _ in 0..60 {
        let offset = numbers.below(CAPACITY / 512) * 512;
        let length = ((1 + numbers.below(300)) * 512).min(CAPACITY - offset);
        let range = offset as usize..(offset + length) as usize;
        match numbers.below(8) {
            0..4 => {
                let fill = numbers.below(256) as u8;
                let bytes: Vec<u8> = (0..length).map(|at| fill ^ (at / 512) as u8).collect();
                write(disk, offset, &bytes).expect("written");
                model[range].copy_from_slice(&bytes);
            }
            4 => {
                let operation = BlockOperation::WriteZeroes {
                    offset,
                    length,
                    unmap: numbers.below(2) == 0,
                    durable: numbers.below(3) == 0,
                };
                perform(disk, operation).expect("zeroed");
                model[range].fill(0);
            }
            5 => {
                perform(disk, BlockOperation::Discard { offset, length }).expect("discarded");
                let found = read(disk, offset, length as usize).expect("read");
                model[range].copy_from_slice(&found);
            }
            6 => perform(disk, BlockOperation::Flush).expect("flushed"),
            _ => {
                let found = read(disk, offset, length as usize).expect("read");
                assert!(found == model[range], "{offset} {length}");
            }
        }
    }
}

/// Sees by this crate and by QEMU that the chain below `top` holds `model`.
pub(super) fn assert_holds(top: &Path, model: &[u8]) {
    let mut disk = open(top, Format::Qcow2, true).expect("it may be read");
    assert!(read(&mut disk, 0, CAPACITY as usize).expect("read") == model);
    let flat = top.with_extension("flat");
    fs::write(&flat, model).expect("flat");
    let compare = [
        "compare",
        "-f",
        "qcow2",
        "-F",
        "raw",
        text(top),
        text(&flat),
    ];
    for arguments in [&["check", text(top)][..], &compare] {
        let command = [&["qemu-img"], arguments].concat();
        assert_ne!(qemu(&command), Some(false));
    }
    fs::remove_file(flat).expect("removed");
}

#[test]
fn what_was_stays_and_the_disk_goes_on() {
    for seed in 1..=2 {
        let mut model: Vec<u8> = (0..CAPACITY).map(|at| (at / 512 % 251) as u8).collect();
        let mut machine = Machine::new(&model);
        if seed % 2 == 0 {
            machine.disk = machine.disk.clone().waiting_for_space();
        }
        let mut numbers = Numbers(seed);
        let mut kept: Vec<(PathBuf, Vec<u8>, Vec<u8>)> = Vec::new();
        for round in 0..8 {
            change(&mut machine.disk, &mut model, &mut numbers);
            let frozen = machine.branch();
            let then = model.clone();
            match round % 3 {
                0 => machine.disk.settle().expect("settled"),
                1 => {
                    change(&mut machine.disk, &mut model, &mut numbers);
                    machine.disk.settle().expect("settled");
                }
                // Several that are settled at once.
                _ => {}
            }
            kept.push((frozen, then, Vec::new()));
            if round % 3 != 2 {
                for (frozen, then, bytes) in &mut kept {
                    assert_holds(frozen, then);
                    let found = fs::read(frozen).expect("file");
                    assert!(bytes.is_empty() || *bytes == found, "a layer has changed");
                    *bytes = found;
                }
            }
        }
        change(&mut machine.disk, &mut model, &mut numbers);
        let found = read(&mut machine.disk, 0, CAPACITY as usize).expect("read");
        assert!(found == model);
        // A flush of the guest's is one of all layers.
        perform(&mut machine.disk, BlockOperation::Flush).expect("flushed");
        for (frozen, then, _) in &kept {
            assert_holds(frozen, then);
        }
        let top = machine.layer(machine.layers);
        drop(machine.disk);
        assert_holds(&top, &model);
        for (frozen, then, bytes) in &kept {
            assert_holds(frozen, then);
            assert!(bytes.is_empty() || fs::read(frozen).expect("file") == *bytes);
        }
    }
}

#[test]
fn branches_are_made_while_others_write() {
    let mut machine = Machine::new(&vec![0; CAPACITY as usize]);
    let stop = AtomicBool::new(false);
    let mut writer = machine.disk.clone();
    let mut kept = Vec::new();
    std::thread::scope(|scope| {
        // Every sector from the first on gets one more, again and again.
        scope.spawn(|| {
            for round in 1.. {
                for sector in 0..CAPACITY / 512 {
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    let bytes = [(round % 256) as u8; 512];
                    write(&mut writer, sector * 512, &bytes).expect("written");
                }
            }
        });
        for _ in 0..20 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            let frozen = machine.branch();
            machine.disk.settle().expect("settled");
            kept.push(frozen);
        }
        stop.store(true, Ordering::Release);
    });
    for path in kept {
        let mut disk = open(&path, Format::Qcow2, true).expect("it may be read");
        let bytes = read(&mut disk, 0, CAPACITY as usize).expect("read");
        let sectors: Vec<u8> = bytes.chunks(512).map(|sector| sector[0]).collect();
        assert!(bytes.chunks(512).all(|sector| sector == [sector[0]; 512]));
        // One instant: the round changes at one place, by one.
        let changes = sectors.windows(2).filter(|pair| pair[0] != pair[1]);
        assert!(changes.clone().count() <= 1, "{}", path.display());
        assert!(
            changes
                .clone()
                .all(|pair| pair[0] == pair[1].wrapping_add(1))
        );
        assert_ne!(qemu(&["qemu-img", "check", text(&path)]), Some(false));
    }
}

#[test]
fn what_was_is_read_by_others_once_it_is_settled() {
    let mut machine = Machine::new(&vec![1; 8192]);
    write(&mut machine.disk, 0, &[2; 512]).expect("written");
    let frozen = machine.branch();
    let in_use = |path: &Path, read_only| {
        let result = open(path, Format::Qcow2, read_only);
        matches!(result, Err(DiskError::InUse { .. }))
    };
    let qemu_reads = |path| {
        let command = "read -P 2 0 512";
        qemu(&["qemu-io", "-f", "qcow2", "-r", "-c", command, text(path)])
    };
    assert!(in_use(&frozen, true), "it is not whole yet");
    assert_ne!(qemu_reads(&frozen), Some(true));
    machine.disk.settle().expect("settled");
    assert!(!in_use(&frozen, true));
    assert_ne!(qemu_reads(&frozen), Some(false));
    assert!(in_use(&frozen, false));
    let written = ["qemu-io", "-f", "qcow2", "-c", "write 0 512", text(&frozen)];
    assert_ne!(qemu(&written), Some(true));
    let top = machine.layer(1);
    assert!(in_use(&top, true));
    assert_ne!(qemu_reads(&top), Some(true));

    // Another machine above the same file.
    let other = machine.folder.path().join("other.qcow2");
    create_overlay(&other, &frozen, Format::Qcow2, 8192).expect("layer");
    let mut clone = open(&other, Format::Qcow2, false).expect("a clone");
    write(&mut clone, 0, &[3; 512]).expect("written");
    write(&mut machine.disk, 0, &[4; 512]).expect("written");
    assert_eq!(read(&mut clone, 0, 512).expect("read"), [3; 512]);
    assert_eq!(read(&mut machine.disk, 0, 512).expect("read"), [4; 512]);
    drop(machine.disk);
    assert!(in_use(&frozen, false), "the clone stands on it");
    drop(clone);
    assert!(!in_use(&frozen, false));
}

#[test]
fn what_is_no_empty_layer_for_the_disk_is_refused_and_nothing_changes() {
    let mut machine = Machine::new(&vec![1; 8192]);
    let folder = machine.folder.path().to_owned();
    let path = |name: &str| folder.join(name);
    write(&mut machine.disk, 0, &[2; 512]).expect("written");
    let make = |name: &str, below: &str, format, size| {
        create_overlay(&path(name), Path::new(below), format, size).expect("layer");
        writable(&path(name))
    };
    let refused = |file: File, name: &str| {
        let error = machine.disk.branch(file, &path(name)).expect_err("refused");
        error.to_string()
    };
    let (right, qcow2) = ("root-0.qcow2", Format::Qcow2);
    fs::write(path("none"), [0; 8192]).expect("file");
    for (name, file, why) in [
        (
            "name",
            make("name", "image.raw", Format::Raw, 8192),
            "names another",
        ),
        (
            "format",
            make("format", right, Format::Raw, 8192),
            "names another",
        ),
        ("size", make("size", right, qcow2, 16384), "another size"),
        ("none", writable(&path("none")), "qemu-img check"),
        ("folder", File::open(&folder).expect("folder"), "no file"),
        ("image.raw", writable(&path("image.raw")), "in use"),
    ] {
        let told = refused(file, name);
        assert!(told.contains(why), "{name}: {told}");
    }
    drop(make("read", right, qcow2, 8192));
    let told = refused(File::open(path("read")).expect("file"), "read");
    assert!(told.contains("open for writing"), "{told}");

    let used = make("used", right, qcow2, 8192);
    let holder = open(&path("used"), qcow2, true);
    assert!(holder.is_err(), "what it stands on is written");
    crate::lock::lock(&used, &path("used"), false).expect("free");
    let told = refused(writable(&path("used")), "used");
    assert!(told.contains("in use"), "{told}");

    // One that was written above another disk with the same name.
    let elsewhere = Machine::new(&vec![1; 8192]);
    drop(elsewhere.disk);
    let full = layer(elsewhere.folder.path(), 1);
    create_overlay(&full, Path::new(right), qcow2, 8192).expect("layer");
    let mut disk = open(&full, qcow2, false).expect("disk");
    write(&mut disk, 512, &[9; 512]).expect("written");
    drop(disk);
    fs::copy(&full, path("full")).expect("copied");
    let told = refused(writable(&path("full")), "full");
    assert!(told.contains("not empty"), "{told}");

    machine.disk.settle().expect("nothing to do");
    let mut expected = vec![1; 8192];
    expected[..512].fill(2);
    assert_eq!(read(&mut machine.disk, 0, 8192).expect("read"), expected);
    machine.branch();
    machine.disk.settle().expect("settled");
    drop(machine.disk);
    let mut disk = open(&layer(&folder, 1), qcow2, false).expect("disk");
    assert_eq!(read(&mut disk, 0, 8192).expect("read"), expected);
}

#[test]
fn which_disks_can_be_branched_is_known_before() {
    let folder = tempfile::tempdir().expect("folder");
    let raw = folder.path().join("disk.img");
    fs::write(&raw, [0; 8192]).expect("file");
    let disk = open(&raw, Format::Raw, false).expect("disk");
    let told = disk.branching().expect_err("raw").to_string();
    assert!(
        told.contains("qemu-img create") && told.contains(",ro"),
        "{told}"
    );
    let new = writable(&raw);
    assert!(matches!(disk.branch(new, &raw), Err(DiskError::Raw { .. })));
    disk.settle().expect("nothing to do");
    drop(disk);
    let disk = open(&raw, Format::Raw, true).expect("disk");
    assert_eq!(disk.branching().expect("read"), Branching::Needless);

    let mut machine = Machine::new(&vec![1; 8192]);
    let error = loop {
        if let Err(error) = machine.disk.branching() {
            break error;
        }
        machine.branch();
    };
    assert!(matches!(error, DiskError::Chain { .. }));
    let next = machine.next();
    let result = machine.disk.branch(writable(&next), &next);
    assert!(matches!(result, Err(DiskError::Chain { .. })));
    machine.disk.settle().expect("settled");
    let top = machine.layer(machine.layers);
    drop(machine.disk);
    // As deep as can be, and it opens.
    let disk = open(&top, Format::Qcow2, true).expect("disk");
    assert_eq!(disk.branching().expect("read"), Branching::Needless);
    let result = disk.branch(writable(&next), &next);
    assert!(result.is_err(), "nothing is put above what is only read");
    assert_eq!(disk.info().capacity, 8192);
}

#[test]
fn what_the_host_could_not_write_is_never_taken_for_written() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name);
    let base = path("image.raw");
    fs::write(&base, [1; 8192]).expect("base");
    create_overlay(&path("old"), &base, Format::Raw, 8192).expect("layer");
    // The layer in a file that can be made such that it cannot be written.
    let memory = memfd_create("old", MemfdFlags::ALLOW_SEALING).expect("memfd");
    let mut memory = File::from(memory);
    memory
        .write_all(&fs::read(path("old")).expect("layer"))
        .expect("written");
    let old = PathBuf::from(format!("/proc/self/fd/{}", memory.as_raw_fd()));
    let mut disk = open(&old, Format::Qcow2, false).expect("disk");
    write(&mut disk, 512, &[2; 1024]).expect("written");
    fcntl_add_seals(&memory, SealFlags::WRITE).expect("sealed");

    create_overlay(&path("new"), &old, Format::Qcow2, 8192).expect("layer");
    disk.branch(writable(&path("new")), &path("new"))
        .expect("branched");
    let told = disk.settle().expect_err("sealed").to_string();
    assert!(told.contains("not permitted"), "{told}");
    let told = disk.settle().expect_err("lost").to_string();
    assert!(told.contains("before"), "{told}");
    assert!(perform(&mut disk, BlockOperation::Flush).is_err());
    assert!(open(&old, Format::Qcow2, true).is_err(), "it is not whole");
    assert_eq!(read(&mut disk, 512, 1024).expect("read"), [2; 1024]);
    write(&mut disk, 4608, &[3; 512]).expect("the disk goes on");
    assert_eq!(read(&mut disk, 4608, 512).expect("read"), [3; 512]);
}
