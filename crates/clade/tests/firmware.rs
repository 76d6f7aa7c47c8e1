//! Disks that boot by themselves: a FAT volume with Debian's kernel, started by UEFI's shell and by
//! U-Boot's extlinux from Debian's packages.
//!
//! Needs the image `mini` and the firmware: without them and without a network a test cannot run;
//! it says so, and passes.

mod common;

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use clade_images::{FirmwareName, Image, Silent, Source};
use common::images::{clade, mini, unless_offline};
use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};

/// Room for a kernel and an initramfs, in bytes.
const VOLUME: u64 = 128 << 20;

/// Where the one partition begins, in bytes.
const START: u64 = 1 << 20;

const SECTOR: u64 = 512;

/// A firmware waits for keys before it boots; the guest then boots and ends.
const LONG: Duration = Duration::from_secs(300);

/// What the kernel is told: the console where firmware has its own, and to end at once.
const CMDLINE: &str = "console=ttyS0 panic=-1 clade.stdin=pipe";

/// What a test needs, or none, which is said.
fn prepared(test: &str, firmware: FirmwareName) -> Option<Image> {
    let firmware = clade_images::firmware(firmware, &Source::default(), &Silent);
    unless_offline(test, firmware)?;
    mini(test)
}

/// A disk with one partition, which takes all of it.
fn make_disk(path: &Path, image: &Image) -> io::Result<()> {
    let mut volume = tempfile::tempfile()?;
    volume.set_len(VOLUME)?;
    fill(&volume, image)?;
    let mut disk = File::create_new(path)?;
    disk.write_all(&partition_table())?;
    disk.seek(SeekFrom::Start(START))?;
    volume.seek(SeekFrom::Start(0))?;
    io::copy(&mut volume, &mut disk).map(drop)
}

/// A master boot record with one FAT partition (type 0x0c).
fn partition_table() -> [u8; SECTOR as usize] {
    let mut record = [0; SECTOR as usize];
    record[446] = 0x80;
    record[450] = 0x0c;
    record[454..458].copy_from_slice(&((START / SECTOR) as u32).to_le_bytes());
    record[458..462].copy_from_slice(&((VOLUME / SECTOR) as u32).to_le_bytes());
    record[510..].copy_from_slice(&[0x55, 0xaa]);
    record
}

fn fill(file: &File, image: &Image) -> io::Result<()> {
    fatfs::format_volume(file, FormatVolumeOptions::new())?;
    let volume = FileSystem::new(file, FsOptions::new())?;
    let root = volume.root_dir();
    let copy = |from: &Path, name: &str| -> io::Result<()> {
        io::copy(&mut File::open(from)?, &mut root.create_file(name)?).map(drop)
    };
    copy(&image.kernel, "linux")?;
    copy(&image.initrd, "initrd")?;
    let extlinux = root.create_dir("extlinux")?;
    let entry = format!("label mini\n  kernel /linux\n  initrd /initrd\n  append {CMDLINE}\n");
    let mut config = extlinux.create_file("extlinux.conf")?;
    config.write_all(entry.as_bytes())?;
    let mut script = root.create_file("startup.nsh")?;
    script.write_all(format!("fs0:\r\nlinux initrd=\\initrd {CMDLINE}\r\n").as_bytes())
}

#[test]
fn uefi_starts_a_kernel_by_its_stub() {
    boot(
        "uefi_starts_a_kernel_by_its_stub",
        FirmwareName::Edk2,
        "UEFI",
    );
}

#[test]
fn u_boot_starts_what_extlinux_names() {
    boot(
        "u_boot_starts_what_extlinux_names",
        FirmwareName::UBoot,
        "none",
    );
}

/// Boots a disk, and has the guest say something that only a running Linux can.
fn boot(test: &str, firmware: FirmwareName, interface: &str) {
    let Some(image) = prepared(test, firmware) else {
        return;
    };
    let folder = tempfile::tempdir().expect("folder");
    let disk = folder.path().join("disk.img");
    make_disk(&disk, &image).expect("disk");
    let name = format!("test-{}-{}", firmware.name(), std::process::id());
    let output = folder.path().join("output");
    let mut child = clade(&["run", "--rm", "--name", &name, "--network", "none"])
        .args(["--firmware", firmware.name(), "--disk"])
        .arg(format!("{},ro", disk.display()))
        .stdout(File::create(&output).expect("file"))
        .stderr(Stdio::inherit())
        .spawn()
        .expect("clade");
    let said = || String::from_utf8_lossy(&fs::read(&output).expect("output")).into_owned();
    let started = Instant::now();
    let mut asked = false;
    // The init of `mini` says when it is ready for input.
    while child.try_wait().expect("clade").is_none() {
        if !asked && said().contains('\u{5}') {
            let mut input = child.stdin.take().expect("piped");
            let script = b"echo kernel is $(uname -r), firmware $(ls /sys/firmware/efi >/dev/null \
                           2>&1 && echo UEFI || echo none)\npoweroff -f\n";
            input.write_all(script).expect("input");
            asked = true;
        }
        if started.elapsed() > LONG {
            let _ = child.kill();
            panic!("it did not boot in time:\n{}", said());
        }
        thread::sleep(Duration::from_millis(100));
    }
    let expected = format!("kernel is {}, firmware {interface}", image.kernel_version);
    assert!(said().contains(&expected), "{}", said());
}
