//! The host's side of a machine's devices: files, sockets, folders. Opened once, before the
//! process is confined, and kept while the guest resets the board.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clade_disk::{Disk, DiskError};

use crate::board::{FlashError, FlashFiles};
use crate::descriptors;
use crate::network::{NetworkError, NetworkLink};
use crate::serial::{SerialBackend, SerialError};
use crate::shares::{ShareError, SharedFolder};
use crate::spec::{DISKS_MAX, DiskSpec, EngineKind, MachineSpec, OnFullDisk};
use crate::vsock::{OnReady, VsockBackend};

/// Why the host's side of a device cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// KVM.
    #[cfg(target_arch = "x86_64")]
    #[error(transparent)]
    Kvm(#[from] clade_kvm::DeviceError),
    /// The flash.
    #[error(transparent)]
    Flash(#[from] FlashError),
    /// A shared folder.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// A disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// There is no room on the board.
    #[error("{0} disks are too many; a machine has up to {DISKS_MAX}")]
    TooManyDisks(usize),
    /// The network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// A serial port.
    #[error(transparent)]
    Serial(#[from] SerialError),
    /// The socket device's.
    #[error("cannot make the socket for connections to the guest in {}: {source}", folder.display())]
    Vsock {
        /// Where it was to be.
        folder: PathBuf,
        /// The host's answer.
        source: io::Error,
    },
}

/// What a board's devices work with.
#[derive(Debug, Default)]
pub struct Backends {
    /// The flash, if the board has one.
    pub flash: Option<FlashFiles>,
    /// The host's KVM, for a machine that runs on it.
    #[cfg(target_arch = "x86_64")]
    pub(crate) kvm: Option<clade_kvm::Device>,
    /// The shared folders, in the order of the configuration.
    pub(crate) shares: Vec<SharedFolder>,
    /// The disks, in the order of the configuration.
    pub disks: Vec<Disk>,
    /// What the network card is connected to, if there is one.
    pub network: Option<NetworkLink>,
    /// The host's side of the serial ports, if there are any.
    pub(crate) serial: Option<Arc<SerialBackend>>,
    /// The host's side of the socket device, if the board has one.
    pub(crate) vsock: Option<Arc<VsockBackend>>,
}

impl Backends {
    /// Opens everything that `spec` names. Sockets are made in `folder`, the machine's own.
    ///
    /// # Errors
    /// When something is not there, not allowed, or in use.
    pub fn open(spec: &MachineSpec, folder: &Path) -> Result<Self, BackendError> {
        let disks = &spec.config.disks;
        if disks.len() > DISKS_MAX {
            return Err(BackendError::TooManyDisks(disks.len()));
        }
        // Every layer of a disk is a file.
        descriptors::raise_limit();
        let open = |disk: &DiskSpec| open_disk(disk, spec.config.on_full_disk);
        Ok(Self {
            #[cfg(target_arch = "x86_64")]
            kvm: Self::of_engine(spec.config.engine)?.kvm,
            flash: spec
                .config
                .flash
                .as_ref()
                .map(|flash| FlashFiles::open(flash, spec.config.engine))
                .transpose()?,
            disks: disks.iter().map(open).collect::<Result<_, _>>()?,
            shares: SharedFolder::open_all(&spec.config.shares)?,
            network: NetworkLink::open(spec, folder)?,
            serial: SerialBackend::open(folder, &spec.config.ports)?,
            vsock: open_vsock(spec, folder)?,
        })
    }

    /// What an engine needs of the host, and nothing else.
    ///
    /// # Errors
    /// When KVM is wanted, and is not there or not allowed.
    #[cfg(target_arch = "x86_64")]
    pub fn of_engine(engine: EngineKind) -> Result<Self, BackendError> {
        // It is opened while files can be: a guest that resets gets a new virtual machine of it.
        let kvm = match engine {
            EngineKind::Emulate => None,
            EngineKind::Kvm => Some(clade_kvm::Device::open()?),
        };
        Ok(Self {
            kvm,
            ..Self::default()
        })
    }

    /// What an engine needs of the host, and nothing else: here there is only the emulator, which needs
    /// nothing.
    ///
    /// # Errors
    /// None.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn of_engine(_engine: EngineKind) -> Result<Self, BackendError> {
        Ok(Self::default())
    }

    /// What is to be done when the guest says that it is ready, by its socket device.
    pub(crate) fn on_guest_ready(&self, on_ready: OnReady) {
        if let Some(vsock) = &self.vsock {
            vsock.on_ready(on_ready);
        }
    }
}

fn open_disk(spec: &DiskSpec, on_full: OnFullDisk) -> Result<Disk, DiskError> {
    let disk = clade_disk::open(&spec.path, spec.format, spec.read_only)?;
    Ok(match on_full {
        OnFullDisk::Error => disk,
        OnFullDisk::Wait => disk.waiting_for_space(),
    })
}

fn open_vsock(
    spec: &MachineSpec,
    folder: &Path,
) -> Result<Option<Arc<VsockBackend>>, BackendError> {
    if !spec.config.vsock {
        return Ok(None);
    }
    let backend = VsockBackend::open(folder, &spec.id, spec.config.vsock_outgoing);
    backend.map(Some).map_err(|source| BackendError::Vsock {
        folder: folder.to_owned(),
        source,
    })
}
