//! What every initramfs is made of: Debian's kernel with its modules, busybox, and a script.

use std::io;

use crate::archive::Architecture;
use crate::deb::Kind;
use crate::fetch::Package;
use crate::modules::{self, ModuleTree};
use crate::{Error, cpio};

/// A kernel and an initramfs, in memory.
pub struct Boot {
    /// The kernel's image, as its package has it.
    pub kernel: Vec<u8>,
    /// As `uname -r` gives it.
    pub kernel_version: String,
    /// The archive, not compressed.
    pub initrd: Vec<u8>,
}

/// Collects what packages hold of a kernel and an initramfs.
pub struct BootParts {
    architecture: Architecture,
    /// The kernel's version and its image.
    kernel: Option<(String, Vec<u8>)>,
    busybox: Option<Vec<u8>>,
    modules: ModuleTree,
    /// modprobe's list of what is built in.
    builtin: Vec<u8>,
}

impl BootParts {
    /// Nothing yet, of a machine of this kind.
    pub fn new(architecture: Architecture) -> Self {
        Self {
            architecture,
            kernel: None,
            busybox: None,
            modules: ModuleTree::default(),
            builtin: Vec::new(),
        }
    }

    /// Whether a package's file belongs to the kernel, by its path.
    pub(crate) fn wants(path: &str) -> bool {
        kernel_version(path).is_some() || module_path(path).is_some()
    }

    /// Adds such a file.
    pub(crate) fn add(
        &mut self,
        path: &str,
        read: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> io::Result<()> {
        if let Some(version) = kernel_version(path) {
            self.kernel = Some((version.to_owned(), read()?));
            return Ok(());
        }
        match module_path(path) {
            Some("modules.builtin") => self.builtin = read()?,
            Some(module) => self.modules.add(module, read)?,
            None => {}
        }
        Ok(())
    }

    /// Adds all of a package that belongs to the kernel.
    ///
    /// # Errors
    /// The package cannot be read.
    pub fn add_kernel(&mut self, package: &Package) -> Result<(), Error> {
        package.visit(|entry, content| {
            if entry.kind != Kind::File {
                return Ok(());
            }
            self.add(&entry.path, || {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes)?;
                Ok(bytes)
            })
        })
    }

    /// Adds busybox, from its package.
    ///
    /// # Errors
    /// The package cannot be read.
    pub fn add_busybox(&mut self, package: &Package) -> Result<(), Error> {
        package.visit(|entry, content| {
            if entry.kind == Kind::File && entry.path.ends_with("bin/busybox") {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes)?;
                self.busybox = Some(bytes);
            }
            Ok(())
        })
    }

    /// Packs an archive in which `init` runs as PID 1 and `modules`, with what they need, can be
    /// loaded; `more` adds what else there is to be. `date`, in seconds since 1970, becomes its
    /// files' date.
    ///
    /// # Errors
    /// A part is missing, a module malformed, or `more` fails.
    pub fn pack(
        self,
        date: u32,
        init: &str,
        modules: &[&str],
        more: impl FnOnce(&mut cpio::Writer<Vec<u8>>) -> io::Result<()>,
    ) -> Result<Boot, Error> {
        let missing = |package: &str, path: &str| Error::NoFile {
            package: package.to_owned(),
            path: path.to_owned(),
        };
        let (kernel_version, kernel) = self
            .kernel
            .ok_or_else(|| missing(self.architecture.kernel_package(), "boot/vmlinux"))?;
        let busybox = self
            .busybox
            .ok_or_else(|| missing("busybox-static", "usr/bin/busybox"))?;
        let modules = self.modules.closure(modules, self.architecture)?;
        let write = || -> io::Result<Vec<u8>> {
            let mut initrd = cpio::Writer::new(Vec::new(), date);
            for folder in ["dev", "proc", "root", "sys"] {
                initrd.folder(folder)?;
            }
            initrd.device("dev/console", 0o600, (5, 1))?;
            initrd.file("init", 0o755, init.as_bytes())?;
            initrd.file("bin/busybox", 0o755, &busybox)?;
            initrd.link("bin/sh", "busybox")?;
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
            more(&mut initrd)?;
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

/// The version in the path of a kernel: `boot/vmlinux-VERSION`, or `vmlinuz` among the modules,
/// where it is since forky.
fn kernel_version(path: &str) -> Option<&str> {
    if let Some(rest) = path.strip_prefix("boot/vmlinu") {
        return rest.split_once('-').map(|(_, version)| version);
    }
    below_modules(path)?.strip_suffix("/vmlinuz")
}

/// The path of a module, or of the list of those that are built in, below `/lib/modules/VERSION`.
fn module_path(path: &str) -> Option<&str> {
    let (_, file) = below_modules(path)?.split_once('/')?;
    (file.contains(".ko") || file == "modules.builtin").then_some(file)
}

/// Debian's files are on their way from / to /usr.
fn below_modules(path: &str) -> Option<&str> {
    let path = path.strip_prefix("usr/").unwrap_or(path);
    path.strip_prefix("lib/modules/")
}
