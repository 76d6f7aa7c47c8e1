//! What is no disk is refused with words that help, and a damaged one harms nobody.

use std::fs::{self, File};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::{Numbers, open, qemu, read, text, write};
use crate::qcow2::CLUSTER;
use crate::{DiskError, Format, capacity, create_overlay};

fn refused(path: &Path, format: Format) -> String {
    open(path, format, false)
        .map(drop)
        .expect_err("refused")
        .to_string()
}

#[test]
fn what_is_no_disk_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name);
    for format in [Format::Raw, Format::Qcow2] {
        assert!(refused(&path("none"), format).contains("truncate --size=8G"));
        assert!(refused(folder.path(), format).contains("is a folder, not a disk"));
        let pipe = path(&format!("pipe-{}", format.name()));
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).expect("pipe");
        assert!(refused(&pipe, format).contains("is a pipe"));
        assert!(refused(Path::new("/dev/zero"), format).contains("is a character device"));
    }
    fs::write(path("odd"), [0; 700]).expect("file");
    assert!(refused(&path("odd"), Format::Raw).contains("700 bytes"));
    assert!(refused(&path("odd"), Format::Qcow2).contains("qemu-img check"));
    assert!(capacity(&path("odd"), Format::Raw).is_err());
    assert!(capacity(&path("odd"), Format::Qcow2).is_err());
    assert!(create_overlay(&path("layer"), &path("odd"), Format::Raw, 700).is_err());
    assert!(!path("layer").exists());
}

#[test]
fn the_name_decides_about_the_format_and_a_contradiction_is_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name);
    let file = |name: &str, bytes: &[u8]| {
        fs::write(path(name), bytes).expect("file");
        Format::detect(&path(name))
    };
    assert_eq!(file("a.img", &[0; 512]).expect("raw"), Format::Raw);
    assert_eq!(file("empty", &[]).expect("raw"), Format::Raw);
    assert_eq!(
        file("a.qcow2", b"QFI\xfb....").expect("qcow2"),
        Format::Qcow2
    );
    // A guest may have written that.
    let told = file("b.img", b"QFI\xfb....")
        .expect_err("refused")
        .to_string();
    assert!(
        told.contains("format=raw") && told.contains("like one of"),
        "{told}"
    );
    assert!(file("b.qcow2", &[0; 512]).is_err());
}

#[test]
fn backing_files_that_cannot_be_had_are_told_of() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("base.img"), [0; 8192]).expect("base");
    create_overlay(
        &path("layer.qcow2"),
        Path::new("base.img"),
        Format::Raw,
        8192,
    )
    .expect("layer");
    open(&path("layer.qcow2"), Format::Qcow2, false).expect("disk");
    fs::remove_file(path("base.img")).expect("removed");
    let told = refused(&path("layer.qcow2"), Format::Qcow2);
    assert!(
        told.contains("stands on another") && told.contains("base.img"),
        "{told}"
    );
    // Two that stand on each other.
    for (above, below) in [("x.qcow2", "y.qcow2"), ("y.qcow2", "x.qcow2")] {
        let (above, below) = (path(above), path(below));
        let create = [
            "qemu-img", "create", "-u", "-f", "qcow2", "-F", "qcow2", "-b",
        ];
        let arguments = [&create[..], &[text(&below), text(&above), "1M"]].concat();
        if qemu(&arguments).is_none() {
            return;
        }
    }
    assert!(refused(&path("x.qcow2"), Format::Qcow2).contains("on itself"));
}

/// A layer with some of everything, as a file.
fn layer(folder: &Path) -> Vec<u8> {
    let (base, path) = (folder.join("base.img"), folder.join("layer.qcow2"));
    fs::write(&base, vec![7; 1 << 20]).expect("base");
    create_overlay(&path, &base, Format::Raw, 2 << 20).expect("layer");
    let mut disk = open(&path, Format::Qcow2, false).expect("disk");
    write(&mut disk, 0, &[1; 4096]).expect("written");
    write(&mut disk, 1 << 20, &vec![2; 200_000 / 512 * 512]).expect("written");
    drop(disk);
    fs::read(path).expect("file")
}

/// Opens, reads and writes the file; all may fail, none may panic.
fn try_out(path: &Path) {
    let Ok(mut disk) = open(path, Format::Qcow2, false) else {
        return;
    };
    for offset in [0, 65536, 1 << 20, (2 << 20) - 4096] {
        let _ = read(&mut disk, offset, 4096);
        let _ = write(&mut disk, offset, &[3; 4096]);
    }
    let flush = clade_devices::virtio::block::BlockOperation::Flush;
    let _ = super::perform(&mut disk, flush);
}

#[test]
fn truncated_and_corrupt_files_harm_nobody() {
    let folder = tempfile::tempdir().expect("folder");
    let whole = layer(folder.path());
    let path = folder.path().join("broken.qcow2");
    for length in (0..whole.len())
        .step_by(13_001)
        .chain([1, 71, 103, 104, 111])
    {
        fs::write(&path, &whole[..length]).expect("file");
        try_out(&path);
    }
    let header = whole.len().min(512);
    let mut numbers = Numbers(9);
    for round in 0..600 {
        let mut broken = whole.clone();
        for _ in 0..1 + round % 3 {
            // The header; or any of the tables, which begin each of the first clusters.
            let at = match numbers.below(3) {
                0 => numbers.below(header as u64),
                _ => numbers.below(6) * CLUSTER as u64 + numbers.below(64),
            };
            if let Some(byte) = broken.get_mut(at as usize) {
                *byte = numbers.below(256) as u8;
            }
        }
        fs::write(&path, broken).expect("file");
        try_out(&path);
    }
    let told = {
        fs::write(&path, &whole[..1000]).expect("file");
        refused(&path, Format::Qcow2)
    };
    assert!(told.contains("qemu-img check"), "{told}");
}

#[test]
fn a_disk_that_may_not_be_written_says_so() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("disk.img");
    File::create(&path)
        .expect("file")
        .set_len(4096)
        .expect("length");
    let mut disk = open(&path, Format::Raw, true).expect("disk");
    assert!(write(&mut disk, 0, &[1; 512]).is_err());
    let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    assert!(DiskError::open(&path, denied).to_string().contains(",ro"));
}
