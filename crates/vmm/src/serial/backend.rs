use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use clade_devices::virtio::serial::SerialHost;

use super::socket::{SerialSocket, SharedSocket};
use crate::spec::{SerialName, SerialPortsError};
use crate::watch::Watch;

/// Why a serial port cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SerialError {
    /// A machine cannot have them together.
    #[error(transparent)]
    Ports(#[from] SerialPortsError),
    /// Its socket.
    #[error("cannot make the socket {} of a serial port: {source}", path.display())]
    Socket {
        /// Where it was to be.
        path: PathBuf,
        /// The host's answer.
        source: io::Error,
    },
}

/// What the serial ports work with; outlives a reset of the guest.
pub(crate) struct SerialBackend {
    watch: Arc<Watch>,
    ports: Vec<(String, SharedSocket)>,
}

impl fmt::Debug for SerialBackend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.ports.iter().map(|(name, _)| name);
        formatter.debug_list().entries(names).finish()
    }
}

impl SerialBackend {
    /// Makes the sockets in `folder`; none if there are no ports.
    pub(crate) fn open(
        folder: &Path,
        names: &[SerialName],
    ) -> Result<Option<Arc<Self>>, SerialError> {
        if names.is_empty() {
            return Ok(None);
        }
        SerialName::check_all(names)?;
        let failed = |path: &Path, source| SerialError::Socket {
            path: path.to_owned(),
            source,
        };
        let watch = Watch::new().map_err(|source| failed(folder, source))?;
        let open = |name: &SerialName| -> Result<_, SerialError> {
            let path = folder.join(name.socket_file());
            let socket = SerialSocket::bind(&path, &watch);
            let socket = socket.map_err(|source| failed(&path, source))?;
            Ok((name.to_string(), SharedSocket(Arc::new(Mutex::new(socket)))))
        };
        Ok(Some(Arc::new(Self {
            ports: names.iter().map(open).collect::<Result<_, _>>()?,
            watch,
        })))
    }

    /// The ports by name, for a device.
    pub(crate) fn ports(&self) -> Vec<(String, Box<dyn SerialHost>)> {
        let ports = self.ports.iter();
        ports
            .map(|(name, socket)| (name.clone(), Box::new(socket.clone()) as _))
            .collect()
    }

    /// Can be read when something has happened at a socket.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.watch.descriptor()
    }

    /// Takes in what has happened.
    pub(crate) fn update(&self) {
        self.watch.update();
    }
}
