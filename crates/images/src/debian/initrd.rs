//! The initial RAM disk that mounts the system's disk: busybox, the modules for that, and a script.

use std::io;

use super::system::Boot;
use crate::deb::Kind;
use crate::fetch::Package;
use crate::modules::{self, ModuleTree};
use crate::{Error, cpio};

/// The script that runs as PID 1.
const INIT: &str = include_str!("../../guest/debian/init");

/// Modules for the disk and what is on it, and for the sockets to the host, which systemd asks for
/// before it loads modules itself.
const MODULES: [&str; 4] = [
    "virtio_blk",
    "ext4",
    "crc32c_generic",
    "vmw_vsock_virtio_transport",
];

/// Changes with what is put into it besides packages.
pub(crate) fn recipe() -> String {
    format!("{} {INIT}", MODULES.join(" "))
}

/// Collects what goes into the initial RAM disk, and the kernel beside it.
#[derive(Default)]
pub(crate) struct Initrd {
    /// The kernel's version as `uname -r` gives it, and its image.
    kernel: Option<(String, Vec<u8>)>,
    busybox: Option<Vec<u8>>,
    modules: ModuleTree,
}

impl Initrd {
    /// Whether a package's file is of interest, by its path.
    pub(crate) fn wants(path: &str) -> bool {
        kernel_version(path).is_some() || module_path(path).is_some()
    }

    /// Adds such a file.
    pub(crate) fn add(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        if let Some(version) = kernel_version(path) {
            self.kernel = Some((version.to_owned(), content.to_vec()));
        }
        match module_path(path) {
            Some(module) => self.modules.add(module, || Ok(content.to_vec())),
            None => Ok(()),
        }
    }

    /// Adds busybox, from its package.
    pub(crate) fn add_busybox(&mut self, package: &Package) -> Result<(), Error> {
        package.visit(|entry, content| {
            if entry.kind == Kind::File && entry.path.ends_with("bin/busybox") {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes)?;
                self.busybox = Some(bytes);
            }
            Ok(())
        })
    }

    /// The kernel, and the archive; `date`, in seconds since 1970, becomes its files' date.
    pub(crate) fn assemble(self, date: u32) -> Result<Boot, Error> {
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
        let modules = self.modules.closure(&MODULES)?;
        let write = || -> io::Result<Vec<u8>> {
            let mut initrd = cpio::Writer::new(Vec::new(), date);
            for folder in ["dev", "proc", "root", "sys"] {
                initrd.folder(folder)?;
            }
            initrd.device("dev/console", 0o600, (5, 1))?;
            initrd.file("init", 0o755, INIT.as_bytes())?;
            initrd.file("bin/busybox", 0o755, &busybox)?;
            initrd.link("bin/sh", "busybox")?;
            let folder = format!("lib/modules/{kernel_version}");
            for module in modules.values() {
                initrd.file(&format!("{folder}/{}", module.path), 0o644, &module.content)?;
            }
            let table = modules::dep_table(&modules);
            initrd.file(&format!("{folder}/modules.dep"), 0o644, table.as_bytes())?;
            initrd.finish()
        };
        let initrd = write().map_err(|error| Error::malformed("the initramfs", error))?;
        Ok(Boot {
            kernel,
            kernel_version,
            initrd,
        })
    }
}

/// The version in the path of a kernel: `boot/vmlinux-VERSION`, or `vmlinuz` among the modules.
fn kernel_version(path: &str) -> Option<&str> {
    if let Some(rest) = path.strip_prefix("boot/vmlinu") {
        return rest.split_once('-').map(|(_, version)| version);
    }
    let below = below_modules(path)?;
    below.strip_suffix("/vmlinuz")
}

/// The path of a module below `/lib/modules/VERSION`.
fn module_path(path: &str) -> Option<&str> {
    let (_, file) = below_modules(path)?.split_once('/')?;
    file.contains(".ko").then_some(file)
}

fn below_modules(path: &str) -> Option<&str> {
    let path = path.strip_prefix("usr/").unwrap_or(path);
    path.strip_prefix("lib/modules/")
}
