//! Who may use a disk at the same time.

use std::fs;

use super::{open, qemu, text};
use crate::{DiskError, Format, create_overlay};

#[test]
fn a_writer_is_alone_and_readers_are_not() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("disk.img");
    fs::write(&path, [0; 8192]).expect("file");
    let in_use = |read_only| {
        let result = open(&path, Format::Raw, read_only);
        matches!(result, Err(DiskError::InUse { .. }))
    };
    let read_by_qemu = || {
        qemu(&[
            "qemu-io",
            "-f",
            "raw",
            "-r",
            "-c",
            "read 0 512",
            text(&path),
        ])
    };
    let written_by_qemu = || qemu(&["qemu-io", "-f", "raw", "-c", "write 0 512", text(&path)]);

    let writer = open(&path, Format::Raw, false).expect("disk");
    assert!(in_use(false));
    assert!(in_use(true));
    assert_ne!(read_by_qemu(), Some(true));
    assert_ne!(written_by_qemu(), Some(true));
    // Every clone is the disk.
    let clone = writer.clone();
    drop(writer);
    assert!(in_use(false));
    drop(clone);

    let readers = [true, true].map(|read_only| open(&path, Format::Raw, read_only));
    assert!(readers.iter().all(Result::is_ok));
    assert!(in_use(false));
    assert_ne!(read_by_qemu(), Some(false));
    assert_ne!(written_by_qemu(), Some(true));
    drop(readers);
    assert_ne!(written_by_qemu(), Some(false));
    assert!(!in_use(false));
}

#[test]
fn what_a_layer_stands_on_is_not_written() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("base.img"), [0; 8192]).expect("base");
    create_overlay(&path("layer.qcow2"), &path("base.img"), Format::Raw, 8192).expect("layer");
    let disk = open(&path("layer.qcow2"), Format::Qcow2, false).expect("disk");
    assert!(open(&path("base.img"), Format::Raw, false).is_err());
    open(&path("base.img"), Format::Raw, true).expect("it may be read");
    let told = open(&path("layer.qcow2"), Format::Qcow2, true)
        .map(drop)
        .expect_err("in use")
        .to_string();
    assert!(told.contains("in use by another machine"), "{told}");
    drop(disk);
    open(&path("base.img"), Format::Raw, false).expect("nobody stands on it");
}
