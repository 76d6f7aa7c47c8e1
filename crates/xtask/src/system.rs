//! What the machine boots: Debian's kernel, busybox, and whatever is to be tried.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use clade_images::{
    Architecture, BootParts, Error, Image, Package, Progress, Request, Source, cpio,
};

use crate::machine::BootFiles;
use crate::programs;

/// The script that runs as PID 1.
const INIT: &str = include_str!("../guest/init");
/// What some tests ask for an opinion, if this host has it.
const TOOLS: [&str; 8] = [
    "/usr/bin/ssh",
    "/usr/bin/qemu-img",
    "/sbin/e2fsck",
    "/sbin/mke2fs",
    "/usr/bin/docker-registry",
    "/usr/bin/skopeo",
    "/etc/containers/policy.json",
    "/etc/ssl/certs/ca-certificates.crt",
];
const BUSYBOX: &str = "busybox-static";
/// UEFI for the machine's own guests, and what it starts.
const FIRMWARE: [&str; 2] = ["ovmf", "systemd-boot-efi"];
/// Those of the machine itself, and what guests without it are given.
const MODULES: [&str; 7] = [
    "kvm_amd",
    "ext4",
    "loop",
    "tun",
    "button",
    "virtio_net",
    "virtio_blk",
];
/// What the kernel's package wants of a system that is installed.
const WITHOUT: [&str; 5] = [
    "initramfs-tools",
    "kmod",
    "linux-base",
    "linux-base-cloud-amd64",
    "linux-initramfs-tool",
];
/// What fio's package wants and the tests' fio does not.
const WITHOUT_FIO: [&str; 4] = [
    "adduser",
    "init-system-helpers",
    "openssl-provider-legacy",
    "python3",
];
/// Its cache, where its `clade` looks for the image `mini`, and tests for Debian's packages.
const CACHE: &str = "cache/clade";
const MINI: &str = "images/amd64/mini/trixie";
/// Where a cache has what it knows of Debian's packages.
const RECORDS: &str = "suites/trixie/amd64";
/// Where people and scripts find it.
const CLADE: &str = "usr/bin/clade";
/// Size in bytes; the host gives what is used.
const DISK_SIZE: u64 = 32 << 30;
/// Where tests of a package go.
pub(crate) const TESTS: &str = "root/tests";

/// What is to be done.
pub(crate) enum Work {
    /// A script, whose exit status is the machine's.
    Script(String),
    /// Somebody sits there.
    Shell,
}

/// Files by their paths below the root.
#[derive(Default)]
pub(crate) struct System {
    files: BTreeMap<String, (u32, Vec<u8>)>,
    links: BTreeMap<String, String>,
}

impl System {
    /// `PATH[:TARGET]`, a file or folder of this host.
    pub(crate) fn add_file(&mut self, argument: &str) -> Result<(), String> {
        let (path, target) = argument.split_once(':').unwrap_or((argument, ""));
        let path = Path::new(path);
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let target = match target {
            "" => format!("root/{name}"),
            target => target.trim_start_matches('/').to_owned(),
        };
        self.add(path, &target)
    }

    /// A program, file or folder, with what is below it.
    pub(crate) fn add(&mut self, path: &Path, target: &str) -> Result<(), String> {
        let wrong = |error| format!("{} cannot be read: {error}", path.display());
        if path.is_dir() {
            for entry in fs::read_dir(path).map_err(wrong)? {
                let entry = entry.map_err(wrong)?;
                let name = entry.file_name();
                self.add(
                    &entry.path(),
                    &format!("{target}/{}", name.to_string_lossy()),
                )?;
            }
            return Ok(());
        }
        let content = fs::read(path).map_err(wrong)?;
        if programs::is_program(&content) {
            self.add_libraries(path)?;
            let content = programs::stripped(path).map_err(wrong)?;
            self.files.insert(target.to_owned(), (0o755, content));
        } else {
            self.files.insert(target.to_owned(), (0o755, content));
        }
        Ok(())
    }

    /// A file that is no file of this host.
    pub(crate) fn add_content(&mut self, target: &str, content: &[u8]) {
        let file = (0o755, content.to_owned());
        self.files.insert(target.to_owned(), file);
    }

    fn add_libraries(&mut self, program: &Path) -> Result<(), String> {
        for library in programs::libraries(program)? {
            let target = library.to_string_lossy();
            let target = target.trim_start_matches('/');
            if !self.files.contains_key(target) {
                let content = fs::read(&library)
                    .map_err(|error| format!("{} cannot be read: {error}", library.display()))?;
                self.files.insert(target.to_owned(), (0o755, content));
            }
        }
        Ok(())
    }

    /// Builds `clade` and adds it.
    pub(crate) fn add_clade(&mut self) -> Result<(), String> {
        let built = programs::build(&["build", "-p", "clade", "--bin", "clade"])?;
        let [(_, path)] = built.as_slice() else {
            return Err("cargo built no clade".to_owned());
        };
        // Its tests look for it where it was built.
        let target = path.to_string_lossy();
        self.links
            .insert(CLADE.to_owned(), target.clone().into_owned());
        self.add(path, target.trim_start_matches('/'))
    }

    /// Makes the image `mini` and puts it where the machine's `clade` finds it.
    pub(crate) fn add_mini(&mut self) -> Result<(), String> {
        let image = mini().map_err(|error| error.to_string())?;
        let folder = image.kernel.parent().ok_or("the image has no folder")?;
        self.add(folder, &format!("{CACHE}/{MINI}"))
    }

    /// Puts packages that tests make images of, and firmware, into the machine's cache: there is no network.
    pub(crate) fn add_packages(&mut self) -> Result<(), String> {
        for Package { name, path, .. } in for_tests().map_err(|error| error.to_string())? {
            let cache = path.ancestors().nth(2).ok_or("a package has no folder")?;
            let file = path.strip_prefix(cache).unwrap_or(&path).to_owned();
            let record = Path::new(RECORDS).join(format!("{name}.json"));
            for file in [file, record] {
                let target = format!("{CACHE}/{}", file.display());
                self.add(&cache.join(&file), &target)?;
            }
        }
        Ok(())
    }

    /// Adds tools that this host has and some tests use; those say so where one is missing.
    pub(crate) fn add_tools(&mut self) -> Result<(), String> {
        let tools = TOOLS.map(Path::new).into_iter();
        let mut found = tools.filter(|path| path.exists());
        found.try_for_each(|path| self.add(path, path.to_string_lossy().trim_start_matches('/')))
    }

    /// Builds the tests of a package, or some of them, adds them, and gives their paths in the machine.
    pub(crate) fn add_tests(
        &mut self,
        package: &str,
        only: &[&str],
    ) -> Result<Vec<String>, String> {
        let only = only.iter().flat_map(|name| ["--test", *name]);
        let arguments: Vec<_> = ["test", "--no-run", "-p", package]
            .into_iter()
            .chain(only)
            .collect();
        let mut targets = Vec::new();
        for (name, path) in programs::build(&arguments)? {
            let target = format!("{TESTS}/{name}");
            self.add(&path, &target)?;
            targets.push(target);
        }
        Ok(targets)
    }

    /// Makes the files that the machine boots from.
    pub(crate) fn assemble(&self, work: &Work) -> Result<BootFiles, String> {
        let mut parts = BootParts::new(Architecture::Amd64);
        for package in packages().map_err(|error| error.to_string())? {
            match package.name.as_str() {
                BUSYBOX => parts.add_busybox(&package),
                _ => parts.add_kernel(&package),
            }
            .map_err(|error| error.to_string())?;
        }
        let boot = parts
            .pack(0, INIT, &MODULES, |archive| self.pack(work, archive))
            .map_err(|error| error.to_string())?;
        let write = || {
            let folder = tempfile::tempdir()?;
            let (kernel, initrd) = (folder.path().join("kernel"), folder.path().join("initrd"));
            fs::write(&kernel, &boot.kernel)?;
            fs::write(&initrd, &boot.initrd)?;
            std::io::Result::Ok(BootFiles {
                kernel,
                initrd,
                folder,
            })
        };
        write().map_err(|error| format!("the machine's initramfs cannot be written: {error}"))
    }

    fn pack(&self, work: &Work, archive: &mut cpio::Writer<Vec<u8>>) -> std::io::Result<()> {
        for folder in ["mnt", "run", "tmp", "usr/bin", "usr/sbin", "sbin"] {
            archive.folder(folder)?;
        }
        archive.device("dev/null", 0o666, (1, 3))?;
        archive.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n")?;
        archive.file("etc/group", 0o644, b"root:x:0:\n")?;
        archive.file("etc/hosts", 0o644, b"127.0.0.1 localhost\n::1 localhost\n")?;
        if let Work::Script(script) = work {
            archive.file("work", 0o755, script.as_bytes())?;
        }
        for (path, (permissions, content)) in &self.files {
            archive.file(path, *permissions, content)?;
        }
        for (path, target) in &self.links {
            archive.link(path, target)?;
        }
        Ok(())
    }
}

/// Makes an empty disk for the machine, a sparse file.
pub(crate) fn make_disk(path: &Path) -> Result<(), String> {
    let wrong =
        |error: &dyn std::fmt::Display| format!("{} cannot be made: {error}", path.display());
    let folder = path.parent().ok_or("a disk needs a folder")?;
    let file = tempfile::NamedTempFile::new_in(folder).map_err(|error| wrong(&error))?;
    let options = clade_ext4::Options {
        size: DISK_SIZE,
        ..clade_ext4::Options::default()
    };
    let (file, name) = file.into_parts();
    let disk = clade_ext4::Builder::new(file, &options);
    disk.and_then(clade_ext4::Builder::finish)
        .map_err(|error| wrong(&error))?;
    name.persist(path).map_err(|error| wrong(&error))
}

/// Why what the machine is made of cannot be had, if that is for want of a network.
pub(crate) fn out_of_reach() -> Option<String> {
    let all = packages().and_then(|_| mini()).and_then(|_| for_tests());
    match all {
        Err(error @ (Error::Network { .. } | Error::NoMirror { .. } | Error::Checksum { .. })) => {
            Some(error.to_string())
        }
        _ => None,
    }
}

/// The image that is run in the machine.
fn mini() -> Result<Image, Error> {
    let request = Request {
        name: "mini".to_owned(),
        architecture: Architecture::Amd64,
        ..Request::default()
    };
    clade_images::ensure(&request, &Told)
}

/// The kernel's packages and busybox.
fn packages() -> Result<Vec<Package>, Error> {
    let names = [Architecture::Amd64.kernel_package(), BUSYBOX];
    clade_images::package_closure(&names, &WITHOUT, &source(), &Told)
}

/// What tests make images of, and firmware.
fn for_tests() -> Result<Vec<Package>, Error> {
    let names: Vec<_> = FIRMWARE.into_iter().chain([BUSYBOX]).collect();
    let mut packages = clade_images::package_files(&names, &source(), &Told)?;
    packages.extend(clade_images::package_closure(
        &["fio"],
        &WITHOUT_FIO,
        &source(),
        &Told,
    )?);
    Ok(packages)
}

fn source() -> Source {
    Source {
        architecture: Architecture::Amd64,
        ..Source::default()
    }
}

/// Says on standard error what is fetched.
struct Told;

impl Progress for Told {
    fn begin(&self, label: &str, _total: u64) {
        eprintln!("xtask: {label}");
    }
    fn advance(&self, _amount: u64) {}
    fn finish(&self) {}
    fn message(&self, text: &str) {
        eprintln!("xtask: {text}");
    }
}
