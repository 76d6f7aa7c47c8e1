use std::path::{Path, PathBuf};

use crate::spec::{EngineKind, MachineConfig};

/// What a machine's process is still allowed to do once it is confined.
#[derive(Debug, Default)]
pub(crate) struct Permissions {
    /// The machine's own folder, to work in and to remove.
    pub(crate) folder: PathBuf,
    /// The folder of its sockets, to remove.
    pub(crate) sockets: PathBuf,
    /// Files that may be opened for reading.
    pub(crate) readable: Vec<PathBuf>,
    /// Folders whose contents the guest may read.
    pub(crate) read_folders: Vec<PathBuf>,
    /// Folders whose contents the guest may change as it likes.
    pub(crate) write_folders: Vec<PathBuf>,
    /// Whether it has disks, which are open already.
    pub(crate) disks: bool,
    /// Whether it may make connections over the network.
    pub(crate) network: bool,
    /// Several sockets may be waited for.
    pub(crate) epoll: bool,
    /// Whether its vCPUs are KVM's.
    pub(crate) kvm: bool,
    /// Unix sockets may be made and connected.
    pub(crate) unix_sockets: bool,
}

impl Permissions {
    /// What a machine of this configuration needs. The files that it boots from stay readable, for
    /// it reads them again when the guest resets it.
    pub(crate) fn of(config: &MachineConfig, folder: &Path, sockets: &Path) -> Self {
        let shares = |read_only: bool| {
            let shares = config.shares.iter();
            let shares = shares.filter(move |share| share.read_only == read_only);
            shares.map(|share| share.folder.clone()).collect()
        };
        Self {
            folder: folder.to_owned(),
            sockets: sockets.to_owned(),
            readable: config.boot_files().map(Path::to_owned).collect(),
            read_folders: shares(true),
            write_folders: shares(false),
            disks: !config.disks.is_empty(),
            network: config.network.outside().is_some(),
            epoll: config.vsock || !config.ports.is_empty(),
            kvm: config.engine == EngineKind::Kvm,
            unix_sockets: config.vsock && config.vsock_outgoing,
        }
    }
}
