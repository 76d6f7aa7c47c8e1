//! Disks that boot by themselves: a FAT volume with Debian's kernel, started by systemd-boot and UEFI's shell,
//! and by U-Boot's extlinux, all from Debian's packages.
//!
//! Needs the image `mini` and the firmware: without them and without a network a test cannot run;
//! it says so, and passes.

mod common;

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clade_images::{Architecture, FirmwareName, Image, Silent};
use common::images::{self, clade, is_emulated, mini, unless_offline};
use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};
use tempfile::TempDir;

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
    let firmware = clade_images::firmware(firmware, &images::source(), &Silent);
    unless_offline(test, firmware)?;
    mini(test)
}

/// How a disk boots.
enum Loader {
    /// UEFI's shell runs a script, U-Boot does what extlinux's configuration says.
    OfFirmware,
    /// This program of UEFI's.
    SystemdBoot(Vec<u8>),
}

/// A disk with one partition, which takes all of it.
fn make_disk(path: &Path, image: &Image, loader: &Loader) -> io::Result<()> {
    let mut volume = tempfile::tempfile()?;
    volume.set_len(VOLUME)?;
    fill(&volume, image, loader)?;
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

fn fill(file: &File, image: &Image, loader: &Loader) -> io::Result<()> {
    fatfs::format_volume(file, FormatVolumeOptions::new())?;
    let volume = FileSystem::new(file, FsOptions::new())?;
    let root = volume.root_dir();
    let copy = |from: &Path, name: &str| -> io::Result<()> {
        io::copy(&mut File::open(from)?, &mut root.create_file(name)?).map(drop)
    };
    let write = |name: &str, content: &[u8]| root.create_file(name)?.write_all(content);
    copy(&image.kernel, "linux")?;
    copy(&image.initrd, "initrd")?;
    match loader {
        Loader::OfFirmware => {
            root.create_dir("extlinux")?;
            let entry =
                format!("label mini\n  kernel /linux\n  initrd /initrd\n  append {CMDLINE}\n");
            write("extlinux/extlinux.conf", entry.as_bytes())?;
            let script = format!("fs0:\r\nlinux initrd=\\initrd {CMDLINE}\r\n");
            write("startup.nsh", script.as_bytes())
        }
        Loader::SystemdBoot(program) => {
            for folder in ["EFI", "EFI/BOOT", "loader", "loader/entries"] {
                root.create_dir(folder)?;
            }
            write(&format!("EFI/BOOT/{}", systemd_boot().1), program)?;
            write("loader/loader.conf", b"timeout 0\n")?;
            let entry = format!("title mini\nlinux /linux\ninitrd /initrd\noptions {CMDLINE}\n");
            write("loader/entries/mini.conf", entry.as_bytes())
        }
    }
}

/// systemd-boot in its package, and what UEFI looks for on a disk.
fn systemd_boot() -> (&'static str, &'static str) {
    match images::architecture() {
        Architecture::Amd64 => (
            "usr/lib/systemd/boot/efi/systemd-bootx64.efi",
            "BOOTX64.EFI",
        ),
        Architecture::Riscv64 => (
            "usr/lib/systemd/boot/efi/systemd-bootriscv64.efi",
            "BOOTRISCV64.EFI",
        ),
    }
}

#[test]
fn uefi_starts_a_kernel_by_its_stub() {
    const TEST: &str = "uefi_starts_a_kernel_by_its_stub";
    boot(TEST, FirmwareName::Edk2, "UEFI");
}

#[test]
fn u_boot_starts_what_extlinux_names() {
    const TEST: &str = "u_boot_starts_what_extlinux_names";
    if is_emulated(TEST) {
        boot(TEST, FirmwareName::UBoot, "none");
    }
}

/// Boots a disk by the firmware alone; its guest sees `interface` of it.
fn boot(test: &str, firmware: FirmwareName, interface: &str) {
    let Some(image) = prepared(test, firmware) else {
        return;
    };
    let guest = Guest::start(firmware, &image, &Loader::OfFirmware, 1);
    guest.tell_of_itself_and_end(&image, interface);
}

#[test]
fn uefi_starts_systemd_boot_and_keeps_its_variables_over_a_reset() {
    const TEST: &str = "uefi_starts_systemd_boot_and_keeps_its_variables_over_a_reset";
    let Some(image) = prepared(TEST, FirmwareName::Edk2) else {
        return;
    };
    let packages = clade_images::package_files(&["systemd-boot-efi"], &images::source(), &Silent);
    let Some(packages) = unless_offline(TEST, packages) else {
        return;
    };
    let program = packages[0].read(systemd_boot().0).expect("systemd-boot");
    let loader = Loader::SystemdBoot(program);
    let mut guest = Guest::start(FirmwareName::Edk2, &image, &loader, 2);
    guest.wait_for_prompts(1);
    let variables = guest.variables();
    assert!(
        holds(&variables, "BootOrder"),
        "what UEFI has found to boot is not kept"
    );
    guest.say("echo processors: $(nproc)\nreboot -f\n");
    guest.wait_for_prompts(2);
    assert!(guest.said().contains("processors: 2"), "{}", guest.said());
    assert!(holds(&guest.variables(), "BootOrder"));
    guest.tell_of_itself_and_end(&image, "UEFI");
}

/// Whether there is a variable of that name, which UEFI writes in UTF-16.
fn holds(variables: &[u8], name: &str) -> bool {
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    variables.windows(name.len()).any(|place| place == name)
}

/// A machine that boots a disk.
struct Guest {
    folder: TempDir,
    name: String,
    child: Child,
    input: ChildStdin,
    started: Instant,
}

impl Guest {
    fn start(firmware: FirmwareName, image: &Image, loader: &Loader, cpus: u32) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let disk = folder.path().join("disk.img");
        make_disk(&disk, image, loader).expect("disk");
        let id = folder.path().file_name().unwrap_or_default();
        let id = id.to_string_lossy().trim_start_matches('.').to_lowercase();
        let name = format!("test-{}-{id}", firmware.name());
        let output = File::create(folder.path().join("output")).expect("file");
        let mut child = clade(&["run", "--rm", "--name", &name, "--network", "none"])
            .args(["--cpus", &cpus.to_string()])
            .args(["--firmware", firmware.name(), "--disk"])
            .arg(format!("{},ro", disk.display()))
            .stdout(output)
            .stderr(Stdio::inherit())
            .spawn()
            .expect("clade");
        Self {
            folder,
            name,
            input: child.stdin.take().expect("piped"),
            child,
            started: Instant::now(),
        }
    }

    fn said(&self) -> String {
        let output = fs::read(self.folder.path().join("output")).expect("output");
        String::from_utf8_lossy(&output).into_owned()
    }

    fn say(&mut self, words: &str) {
        self.input.write_all(words.as_bytes()).expect("input");
    }

    /// Waits until the init of `mini` has said that it is ready for input as often.
    fn wait_for_prompts(&mut self, count: usize) {
        self.wait(|said| said.matches('\u{5}').count() >= count);
    }

    /// Waits until the machine has ended, or has said enough.
    fn wait(&mut self, enough: impl Fn(&str) -> bool) {
        while self.child.try_wait().expect("clade").is_none() && !enough(&self.said()) {
            if self.started.elapsed() > LONG {
                let _ = self.child.kill();
                panic!("it did not boot in time:\n{}", self.said());
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// The variables, as they are kept.
    fn variables(&self) -> Vec<u8> {
        let shown = clade(&["inspect", &self.name]).output().expect("clade");
        let shown: serde_json::Value =
            serde_json::from_slice(&shown.stdout).expect("what clade inspect prints");
        let folder = shown[0]["folder"].as_str().expect("a folder");
        fs::read(Path::new(folder).join("variables.fd")).expect("variables")
    }

    /// Has it say something that only a running Linux can, and switch itself off.
    fn tell_of_itself_and_end(mut self, image: &Image, interface: &str) {
        self.wait_for_prompts(1);
        self.say(
            "echo kernel is $(uname -r), firmware $(ls /sys/firmware/efi >/dev/null 2>&1 && \
             echo UEFI || echo none)\npoweroff -f\n",
        );
        self.wait(|_| false);
        let expected = format!("kernel is {}, firmware {interface}", image.kernel_version);
        assert!(self.said().contains(&expected), "{}", self.said());
        assert!(self.child.wait().expect("clade").success());
    }
}
