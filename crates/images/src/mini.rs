//! The image `mini`: Debian's kernel, and an initramfs of busybox and the modules for Clade's devices.

use std::io;

use clade_store::Sha256;

use crate::archive::{Architecture, Archive, PackageRecord, Setup};
use crate::deb::Kind;
use crate::fetch::Package;
use crate::initramfs::{Boot, BootParts};
use crate::ssh_server::{self, SshServer};
use crate::{Error, Progress};

/// The script that runs as PID 1.
const INIT: &str = include_str!("../guest/init");
/// What configures its network.
const UDHCPC: &str = include_str!("../guest/udhcpc");
/// What its shells read first.
const SHELL: &str = include_str!("../guest/shell");

const BUSYBOX: &str = "busybox-static";

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
pub(crate) fn recipe(architecture: Architecture) -> Sha256 {
    let own = format!("{RECIPE}\n{}\n{INIT}\n{SHELL}\n{UDHCPC}", MODULES.join(" "));
    Sha256::of(&[own.as_bytes(), ssh_server::recipe(architecture).as_ref()].concat())
}

/// The packages that `mini` is made of: the kernel's, as its metapackage names them, busybox, and
/// an SSH server.
pub(crate) fn packages(archive: &Archive<'_>) -> Result<Vec<PackageRecord>, Error> {
    let mut chosen = ssh_server::packages(archive)?;
    chosen.push(archive.package(BUSYBOX)?);
    let mut wanted = archive
        .package(archive.architecture().kernel_package())?
        .depends;
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
    architecture: Architecture,
    packages: &[PackageRecord],
    date: u32,
    progress: &dyn Progress,
) -> Result<Boot, Error> {
    let total = packages.iter().map(|package| package.size).sum();
    progress.begin("building mini", total);
    let mut boot = BootParts::new(architecture);
    let mut ssh_server = SshServer::new(architecture);
    for record in packages {
        let package = record.package(setup);
        if record.name == BUSYBOX {
            boot.add_busybox(&package)?;
        } else {
            collect(&package, &mut boot, &mut ssh_server)?;
        }
        progress.advance(record.size);
    }
    progress.finish();
    ssh_server.check()?;
    boot.pack(date, INIT, &MODULES, |initrd| {
        for folder in ["mnt", "run", "tmp", "usr/bin", "usr/sbin", "sbin"] {
            initrd.folder(folder)?;
        }
        initrd.device("dev/null", 0o666, (1, 3))?;
        initrd.file("etc/shell", 0o644, SHELL.as_bytes())?;
        initrd.file("etc/udhcpc", 0o755, UDHCPC.as_bytes())?;
        initrd.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\n")?;
        initrd.file("etc/group", 0o644, b"root:x:0:\n")?;
        let hosts = b"127.0.0.1 localhost mini\n::1 localhost\n";
        initrd.file("etc/hosts", 0o644, hosts)?;
        ssh_server.write(initrd)
    })
}

/// Takes from a package what goes into the image.
fn collect(
    package: &Package,
    boot: &mut BootParts,
    ssh_server: &mut SshServer,
) -> Result<(), Error> {
    package.visit(|entry, content| {
        if entry.kind != Kind::File {
            return Ok(());
        }
        let read = || {
            let mut bytes = Vec::new();
            content.read_to_end(&mut bytes)?;
            io::Result::Ok(bytes)
        };
        if BootParts::wants(&entry.path) {
            return boot.add(&entry.path, read);
        }
        // Debian's files are on their way from / to /usr.
        let path = entry.path.strip_prefix("usr/").unwrap_or(&entry.path);
        ssh_server.collect(path, read)
    })
}
