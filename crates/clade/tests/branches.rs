//! The disk of a guest that uses it is branched, and others go on from there.
//!
//! Needs the image `mini`, `mke2fs`, `e2fsck` and `qemu-img`: without them this test cannot run; it
//! says so, and passes.

mod common;

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use clade_disk::{Disk, Format, create_overlay, open};
use clade_images::Image;
use clade_vmm::backends::Backends;
use clade_vmm::spec::{DiskSpec, MachineConfig};
use common::images::{alone, engine, mini, skip};
use common::in_process::Guest;

const SIZE: u64 = 256 << 20;
const BRANCHES: usize = 4;

/// Files that are flushed one by one and told of, beside a writer that never waits.
const LOAD: &str = "mkdir /d; mount -t ext4 /dev/vda /d; \
    (while :; do dd if=/dev/zero of=/d/noise bs=64k count=200 2>/dev/null; done) & \
    i=0; while :; do i=$((i + 1)); \
    head -c 20000 /dev/urandom >/tmp/f; dd if=/tmp/f of=/d/f$i conv=fsync 2>/dev/null || exit; \
    echo flushed $i $(sha256sum </tmp/f | cut -c1-64); done";

#[test]
fn each_branch_of_a_busy_disk_is_a_sound_one() {
    const TEST: &str = "each_branch_of_a_busy_disk_is_a_sound_one";
    let _alone = alone();
    let Some(image) = mini(TEST) else {
        return;
    };
    for tool in ["mke2fs", "e2fsck", "qemu-img"] {
        if let Err(error) = Command::new(tool).arg("--version").output() {
            return skip(TEST, format!("{tool}: {error}"));
        }
    }
    let folder = tempfile::tempdir().expect("folder");
    let layer = |number: usize| folder.path().join(format!("root-{number}.qcow2"));
    let base = folder.path().join("image.raw");
    let file = File::create(&base).expect("file");
    file.set_len(SIZE).expect("size");
    run("mke2fs", &["-q", "-F", "-t", "ext4", text(&base)]);
    create_overlay(&layer(0), &base, Format::Raw, SIZE).expect("layer");

    let disk = open(&layer(0), Format::Qcow2, false).expect("disk");
    let guest = boot(&image, &disk);
    guest.send(LOAD);
    guest.until("flushed 1 ");
    let mut flushed = Vec::new();
    let mut kept = Vec::new();
    for number in 1..=BRANCHES {
        thread::sleep(Duration::from_millis(700));
        let path = layer(number);
        create_overlay(&path, &layer(number - 1), Format::Qcow2, SIZE).expect("layer");
        let top = File::options().read(true).write(true).open(&path);
        flushed.extend(guest.take_lines().iter().filter_map(|line| sum(line)));
        disk.branch(top.expect("file"), &path).expect("branched");
        disk.settle().expect("settled");
        kept.push((layer(number - 1), flushed.clone()));
    }
    assert!(flushed.len() > BRANCHES, "{}", flushed.len());
    // While the first goes on.
    for (frozen, flushed) in &kept {
        assert_goes_on(&image, frozen, flushed);
    }
    guest.stop();
    drop(disk);
    for path in (0..=BRANCHES).map(layer) {
        run("qemu-img", &["check", text(&path)]);
    }
}

/// A machine above `frozen` finds what was flushed before, and a file system that is sound.
fn assert_goes_on(image: &Image, frozen: &Path, flushed: &[(String, String)]) {
    let path = frozen.with_extension("clone");
    create_overlay(&path, frozen, Format::Qcow2, SIZE).expect("layer");
    let disk = open(&path, Format::Qcow2, false).expect("disk");
    let guest = boot(image, &disk);
    guest.ask("mkdir /d; mount -t ext4 /dev/vda /d");
    let found = guest.ask("cd /d; sha256sum f*; cd /");
    for (file, sum) in flushed {
        let line = format!("{sum}  f{file}");
        let here = found.lines().any(|found| found.trim_end() == line);
        assert!(here, "{}: {line} in {found}", path.display());
    }
    let errors = guest.ask("umount /d; dmesg | grep -i 'ext4.*error'");
    assert!(!errors.contains("rror:"), "{errors}");
    guest.stop();
    drop(disk);
    let raw = frozen.with_extension("raw");
    run(
        "qemu-img",
        &["convert", "-O", "raw", text(&path), text(&raw)],
    );
    run("e2fsck", &["-f", "-n", text(&raw)]);
    std::fs::remove_file(raw).expect("removed");
}

fn boot(image: &Image, disk: &Disk) -> Guest {
    let config = MachineConfig {
        disks: vec![DiskSpec::default()],
        ..MachineConfig::default()
    };
    let mut backends = Backends::of_engine(engine()).expect("the engine");
    backends.disks.push(disk.clone());
    Guest::boot(image, config, &backends)
}

/// The number and checksum that a line tells of.
fn sum(line: &str) -> Option<(String, String)> {
    match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["flushed", number, sum] => Some((number.to_owned(), sum.to_owned())),
        _ => None,
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.expect(program);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
}

fn text(path: &Path) -> &str {
    path.to_str().expect("plain path")
}
