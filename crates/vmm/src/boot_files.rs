//! The boot files, held open so that a machine that is reset starts from the very files that it
//! started from before: whatever was renamed or removed meanwhile (a newer image, say), and though
//! the sandbox shows nothing else.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use crate::spec::MachineConfig;

/// A machine's boot files, open.
#[derive(Debug, Default)]
pub(crate) struct BootFiles {
    files: Vec<File>,
}

impl BootFiles {
    /// Opens the files that `config` names. The returned config names them by their descriptors,
    /// and is good for as long as these files live.
    pub(crate) fn hold(config: &MachineConfig) -> (Self, MachineConfig) {
        let mut held = Self::default();
        let mut hold = |file: &Option<PathBuf>| file.as_deref().map(|path| held.hold_one(path));
        let by_descriptor = MachineConfig {
            kernel: hold(&config.kernel),
            initrd: hold(&config.initrd),
            firmware: hold(&config.firmware),
            ..config.clone()
        };
        (held, by_descriptor)
    }

    /// A pipe keeps its path: it can be read only once, and is told of as such.
    fn hold_one(&mut self, path: &Path) -> PathBuf {
        if !path.is_file() {
            return path.to_owned();
        }
        let Ok(file) = File::open(path) else {
            return path.to_owned();
        };
        let by_descriptor = format!("/proc/self/fd/{}", file.as_raw_fd());
        self.files.push(file);
        by_descriptor.into()
    }
}
