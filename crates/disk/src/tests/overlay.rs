//! Layers above an image that stays as it is.

use std::fs;

use clade_devices::virtio::block::BlockBackend;

use super::{open, qemu, read, text, write};
use crate::{Format, create_overlay};

#[test]
fn many_layers_stand_on_one_image() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name);
    let image: Vec<u8> = (0..1u32 << 20).map(|at| (at / 512 % 200) as u8).collect();
    fs::write(path("image.raw"), &image).expect("image");
    let mut disks = ["a", "b"].map(|name| {
        create_overlay(&path(name), &path("image.raw"), Format::Raw, 1 << 30).expect("layer");
        open(&path(name), Format::Qcow2, false).expect("disk")
    });
    for (number, disk) in (1..).zip(&mut disks) {
        assert_eq!(disk.info().capacity, 1 << 30);
        write(disk, 4096, &[number; 512]).expect("written");
        write(disk, 1 << 29, &[number; 512]).expect("written");
    }
    for (number, disk) in (1..).zip(&mut disks) {
        let found = read(disk, 0, 8192).expect("read");
        assert_eq!(found[..4096], image[..4096]);
        assert_eq!(found[4096..4608], [number; 512]);
        assert_eq!(found[4608..], image[4608..8192]);
        assert_eq!(
            read(disk, 1 << 29, 1024).expect("read")[..512],
            [number; 512]
        );
        // Beyond the image there are zeroes.
        assert_eq!(read(disk, 1 << 28, 512).expect("read"), [0; 512]);
    }
    drop(disks);
    assert!(fs::read(path("image.raw")).expect("image") == image);
    let size = fs::metadata(path("a")).expect("layer").len();
    assert!(size < 1 << 20, "a layer of {size} bytes for two sectors");
    let check = qemu(&["qemu-img", "check", "-f", "qcow2", text(&path("a"))]);
    assert_ne!(check, Some(false));
}

#[test]
fn a_layer_does_not_replace_a_file() {
    let folder = tempfile::tempdir().expect("folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("image.raw"), [0; 512]).expect("image");
    fs::write(path("precious"), "text").expect("file");
    assert!(create_overlay(&path("precious"), &path("image.raw"), Format::Raw, 512).is_err());
    assert_eq!(fs::read(path("precious")).expect("file"), b"text");
}
