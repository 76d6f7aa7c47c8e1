//! The image `mini`: Debian's kernel, and an initramfs of busybox and the modules for Clade's devices.

use std::io;

use clade_store::Sha256;

use crate::archive::{Archive, PackageRecord, Setup};
use crate::deb::Kind;
use crate::fetch::Package;
use crate::modules::{self, ModuleTree};
use crate::ssh_server::{self, SshServer};
use crate::{Error, Progress, cpio};

/// The script that runs as PID 1.
const INIT: &str = include_str!("../guest/init");
/// What configures its network.
const UDHCPC: &str = include_str!("../guest/udhcpc");
/// What its shells read first.
const SHELL: &str = include_str!("../guest/shell");

/// Modules for the devices and file systems that Clade offers or will. Those that the kernel has
/// built in need not, but may, be named.
const MODULES: [&str; 22] = [
    "virtio_blk",
    "virtio_net",
    "virtio_mmio",
    "virtio_balloon",
    "virtio_rng",
    "virtio_input",
    "evdev",
    "virtio_scsi",
    "vsock",
    "vmw_vsock_virtio_transport",
    "9p",
    "9pnet_virtio",
    "virtiofs",
    "ext4",
    "overlay",
    "squashfs",
    "isofs",
    "loop",
    "af_packet",
    "crc32c_generic",
    "failover",
    "net_failover",
];

/// Changes whenever this file builds something else from the same packages and constants.
const RECIPE: &str = "1";

/// What `mini` is built from, besides packages; another recipe means another image.
pub(crate) fn recipe() -> Sha256 {
    let own = format!("{RECIPE}\n{}\n{INIT}\n{SHELL}\n{UDHCPC}", MODULES.join(" "));
    Sha256::of(&[own.as_bytes(), ssh_server::recipe().as_ref()].concat())
}

/// A kernel and an initramfs in memory.
pub(crate) struct Built {
    pub(crate) kernel: Vec<u8>,
    pub(crate) kernel_version: String,
    pub(crate) initrd: Vec<u8>,
}

/// The packages that `mini` is made of: the kernel's, as its metapackage names them, busybox, and
/// an SSH server.
pub(crate) fn packages(archive: &Archive<'_>) -> Result<Vec<PackageRecord>, Error> {
    let mut chosen = ssh_server::packages(archive)?;
    chosen.push(archive.package("busybox-static")?);
    let mut wanted = archive.package("linux-image-riscv64")?.depends;
    while let Some(name) = wanted.pop() {
        // From forky on, the kernel and its modules are packages of their own.
        let part = ["linux-image-", "linux-binary-", "linux-modules-"];
        let is_kernel = part.iter().any(|prefix| name.starts_with(prefix));
        if is_kernel && chosen.iter().all(|package| package.name != name) {
            let package = archive.package(&name)?;
            wanted.extend(package.depends.iter().cloned());
            chosen.push(package);
        }
    }
    Ok(chosen)
}

/// Builds the image from its packages; `date`, in seconds since 1970, becomes its files' date.
pub(crate) fn build(
    setup: &Setup,
    packages: &[PackageRecord],
    date: u32,
    progress: &dyn Progress,
) -> Result<Built, Error> {
    let total = packages.iter().map(|package| package.size).sum();
    progress.begin("building mini", total);
    let mut parts = Parts::default();
    for record in packages {
        let package = record.package(setup);
        parts.collect(&package)?;
        progress.advance(record.size);
    }
    progress.finish();
    parts.assemble(date)
}

/// What the packages hold that goes into the image.
#[derive(Default)]
struct Parts {
    /// The kernel's version as `uname -r` gives it, and its image.
    kernel: Option<(String, Vec<u8>)>,
    busybox: Option<Vec<u8>>,
    ssh_server: SshServer,
    modules: ModuleTree,
    /// modprobe's list of what is built in.
    builtin: Vec<u8>,
}

impl Parts {
    fn collect(&mut self, package: &Package) -> Result<(), Error> {
        package.visit(|entry, content| {
            if entry.kind != Kind::File {
                return Ok(());
            }
            let mut read = || {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes)?;
                io::Result::Ok(bytes)
            };
            // Debian's files are on their way from / to /usr.
            let path = entry.path.strip_prefix("usr/").unwrap_or(&entry.path);
            let kernel = path.strip_prefix("boot/vmlinu");
            if let Some((_, version)) = kernel.and_then(|rest| rest.split_once('-')) {
                self.kernel = Some((version.to_owned(), read()?));
            } else if path == "bin/busybox" {
                self.busybox = Some(read()?);
            } else if let Some(below) = path.strip_prefix("lib/modules/") {
                match below.split_once('/') {
                    Some((_, "modules.builtin")) => self.builtin = read()?,
                    // Here since forky.
                    Some((version, "vmlinuz")) => self.kernel = Some((version.to_owned(), read()?)),
                    Some((_, file)) => self.modules.add(file, read)?,
                    None => {}
                }
            } else {
                self.ssh_server.collect(path, read)?;
            }
            Ok(())
        })
    }

    fn assemble(self, date: u32) -> Result<Built, Error> {
        let missing = |package: &str, path: &str| Error::NoFile {
            package: package.to_owned(),
            path: path.to_owned(),
        };
        let (kernel_version, kernel) = self
            .kernel
            .ok_or_else(|| missing("linux-image-riscv64", "boot/vmlinux"))?;
        let busybox = self
            .busybox
            .ok_or_else(|| missing("busybox-static", "usr/bin/busybox"))?;
        self.ssh_server.check()?;
        let modules = self.modules.closure(&MODULES)?;
        let write = || -> io::Result<Vec<u8>> {
            let mut initrd = cpio::Writer::new(Vec::new(), date);
            for folder in [
                "dev", "mnt", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/sbin", "sbin",
            ] {
                initrd.folder(folder)?;
            }
            initrd.device("dev/console", 0o600, (5, 1))?;
            initrd.device("dev/null", 0o666, (1, 3))?;
            initrd.file("init", 0o755, INIT.as_bytes())?;
            initrd.file("bin/busybox", 0o755, &busybox)?;
            initrd.link("bin/sh", "busybox")?;
            initrd.file("etc/shell", 0o644, SHELL.as_bytes())?;
            initrd.file("etc/udhcpc", 0o755, UDHCPC.as_bytes())?;
            initrd.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n")?;
            initrd.file("etc/group", 0o644, b"root:x:0:\n")?;
            initrd.file(
                "etc/hosts",
                0o644,
                b"127.0.0.1 localhost mini\n::1 localhost\n",
            )?;
            self.ssh_server.write(&mut initrd)?;
            let folder = format!("lib/modules/{kernel_version}");
            for module in modules.values() {
                initrd.file(&format!("{folder}/{}", module.path), 0o644, &module.content)?;
            }
            for (name, content) in [
                ("modules.dep", modules::dep_table(&modules).as_bytes()),
                ("modules.alias", modules::alias_table(&modules).as_bytes()),
                ("modules.builtin", &self.builtin),
                ("modules.symbols", b""),
            ] {
                initrd.file(&format!("{folder}/{name}"), 0o644, content)?;
            }
            initrd.finish()
        };
        let initrd = write().map_err(|error| Error::malformed("the initramfs", error))?;
        Ok(Built {
            kernel,
            kernel_version,
            initrd,
        })
    }
}
