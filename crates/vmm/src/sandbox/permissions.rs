use std::path::{Path, PathBuf};

use crate::spec::MachineConfig;

/// What a machine's process is still allowed to do once it is confined.
#[derive(Debug, Default)]
pub(crate) struct Permissions {
    /// The machine's own folder, to work in and to remove.
    pub(crate) folder: PathBuf,
    /// The folder of its sockets, to remove.
    pub(crate) sockets: PathBuf,
    /// Files that may be opened for reading.
    pub(crate) readable: Vec<PathBuf>,
}

impl Permissions {
    /// What a machine of this configuration needs. The files that it boots from stay readable, for
    /// it reads them again when the guest resets it.
    pub(crate) fn of(config: &MachineConfig, folder: &Path, sockets: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            sockets: sockets.to_owned(),
            readable: config.boot_files().map(Path::to_owned).collect(),
        }
    }
}
