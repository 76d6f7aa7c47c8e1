//! The host's side of a machine's devices: files, sockets, folders. Opened once, before the
//! process is confined, and kept while the guest resets the board.

use std::path::Path;

use clade_disk::{Disk, DiskError};

use crate::board::{FlashError, FlashFiles};
use crate::network::{NetworkError, NetworkLink};
use crate::shares::{ShareError, SharedFolder};
use crate::spec::{DISKS_MAX, DiskSpec, MachineSpec};

/// Why the host's side of a device cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
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
}

/// What a board's devices work with.
#[derive(Debug, Default)]
pub struct Backends {
    /// The flash, if the board has one.
    pub flash: Option<FlashFiles>,
    /// The shared folders, in the order of the configuration.
    pub(crate) shares: Vec<SharedFolder>,
    /// The disks, in the order of the configuration.
    pub disks: Vec<Disk>,
    /// What the network card is connected to, if there is one.
    pub network: Option<NetworkLink>,
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
        let open = |disk: &DiskSpec| clade_disk::open(&disk.path, disk.format, disk.read_only);
        Ok(Self {
            flash: spec
                .config
                .flash
                .as_ref()
                .map(FlashFiles::open)
                .transpose()?,
            disks: disks.iter().map(open).collect::<Result<_, _>>()?,
            shares: SharedFolder::open_all(&spec.config.shares)?,
            network: NetworkLink::open(spec, folder)?,
        })
    }
}
