//! Disks that boot by themselves: a FAT volume with Debian's kernel, started by U-Boot's standard
//! boot and by UEFI's shell, both from Debian's packages.
//!
//! Needs the image `mini` and the firmware: without them and without a network these tests cannot
//! run; they say so, and pass.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use clade_images::{Error, FirmwareName, Image, Request, Silent, Source};
use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};

/// Room for a kernel and an initramfs, in bytes.
const DISK: u64 = 256 << 20;

/// A firmware waits for keys before it boots; the guest then boots and ends.
const LONG: Duration = Duration::from_secs(300);

/// What the kernel is told: the console where firmware has its own, and to end at once.
const CMDLINE: &str = "console=ttyS0 panic=-1 clade.stdin=pipe";

const EXTLINUX: &str = "default mini\nlabel mini\n  kernel /linux\n  initrd /initrd\n";

/// What the tests need, or none, which is said.
fn prepared(test: &str, firmware: FirmwareName) -> Option<Image> {
    let request = Request {
        name: "mini".into(),
        ..Request::default()
    };
    let fetched = clade_images::firmware(firmware, &Source::default(), &Silent)
        .and_then(|_| clade_images::ensure(&request, &Silent));
    match fetched {
        Ok(image) => Some(image),
        Err(error @ (Error::Network { .. } | Error::NoMirror { .. })) => {
            // Past the test harness's capture: a skipped test must be seen.
            let _ = writeln!(io::stderr(), "SKIPPED {test}: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn make_disk(path: &Path, image: &Image) -> io::Result<()> {
    let disk = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)?;
    disk.set_len(DISK)?;
    fatfs::format_volume(&disk, FormatVolumeOptions::new())?;
    let volume = FileSystem::new(&disk, FsOptions::new())?;
    let root = volume.root_dir();
    let copy = |from: &Path, name: &str| -> io::Result<()> {
        io::copy(&mut File::open(from)?, &mut root.create_file(name)?).map(drop)
    };
    copy(&image.kernel, "linux")?;
    copy(&image.initrd, "initrd")?;
    let extlinux = root.create_dir("extlinux")?;
    let config = format!("{EXTLINUX}  append {CMDLINE}\n");
    let mut file = extlinux.create_file("extlinux.conf")?;
    file.write_all(config.as_bytes())?;
    let mut script = root.create_file("startup.nsh")?;
    script.write_all(format!("fs0:\r\nlinux initrd=\\initrd {CMDLINE}\r\n").as_bytes())
}

/// Boots a disk, and has the guest say something that only a running Linux can.
fn boots(test: &str, firmware: FirmwareName) {
    let Some(image) = prepared(test, firmware) else {
        return;
    };
    let folder = tempfile::tempdir().expect("folder");
    let disk = folder.path().join("disk.img");
    make_disk(&disk, &image).expect("disk");
    let name = format!("test-{}-{}", firmware.name(), std::process::id());
    let output = folder.path().join("output");
    let mut child = Command::new(env!("CARGO_BIN_EXE_clade"))
        .args([
            "run",
            "--rm",
            "--name",
            &name,
            "--firmware",
            firmware.name(),
        ])
        .arg("--disk")
        .arg(format!("{},ro", disk.display()))
        .stdin(Stdio::piped())
        .stdout(File::create(&output).expect("file"))
        .spawn()
        .expect("clade");
    let said = || String::from_utf8_lossy(&fs::read(&output).expect("output")).into_owned();
    let started = std::time::Instant::now();
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
        std::thread::sleep(Duration::from_millis(100));
    }
    let said = said();
    // U-Boot's extlinux starts the kernel's EFI stub only if asked to; EDK2 knows no other way.
    let expected = format!("kernel is {}, firmware", image.kernel_version);
    assert!(said.contains(&expected), "{said}");
    if firmware == FirmwareName::Edk2 {
        assert!(said.contains("firmware UEFI"), "{said}");
    }
}

#[test]
fn u_boot_starts_what_extlinux_names() {
    boots("u_boot_starts_what_extlinux_names", FirmwareName::UBoot);
}

#[test]
fn uefi_starts_a_kernel_by_its_stub() {
    boots("uefi_starts_a_kernel_by_its_stub", FirmwareName::Edk2);
}
