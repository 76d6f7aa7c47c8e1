use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clade_devices::virtio::serial::SerialHost;
use rustix::net::{RecvFlags, SocketFlags};

use crate::watch::{Watch, Watched};

/// A port's socket, and who is connected to it.
pub(super) struct SerialSocket {
    watch: Arc<Watch>,
    watched: Watched,
    listener: UnixListener,
    client: Option<Client>,
}

/// Whoever is connected.
struct Client {
    watched: Watched,
    socket: UnixStream,
}

impl SerialSocket {
    /// Makes the socket at `path`.
    pub(super) fn bind(path: &Path, watch: &Arc<Watch>) -> io::Result<Self> {
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            watched: watch.add(&listener)?,
            watch: Arc::clone(watch),
            listener,
            client: None,
        })
    }

    fn accept(&mut self) -> Option<Client> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let mut accepted = None;
        let attempt = || {
            accepted = Some(rustix::net::accept_with(&self.listener, flags)?);
            Ok(0)
        };
        // If the host is out of descriptors, the next client that comes makes it try again.
        let _ = self.watched.when(|ready| &ready.readable, attempt);
        let socket = UnixStream::from(accepted?);
        Some(Client {
            watched: self.watch.add(&socket).ok()?,
            socket,
        })
    }
}

impl Client {
    /// Whether it neither writes nor reads any more, and all that it wrote has been read. One that
    /// has only ended what it writes may still wait for an answer.
    fn is_gone(&self) -> bool {
        if !self.watched.is(|ready| &ready.closed) {
            return false;
        }
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let waiting = rustix::net::recv(&self.socket, &mut [0_u8; 1][..], flags);
        !matches!(waiting, Ok((1.., _)))
    }
}

/// The same for the device, whichever board it is on.
#[derive(Clone)]
pub(super) struct SharedSocket(pub(super) Arc<Mutex<SerialSocket>>);

impl SharedSocket {
    fn lock(&self) -> MutexGuard<'_, SerialSocket> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SerialHost for SharedSocket {
    fn connected(&mut self) -> bool {
        let mut port = self.lock();
        if port.client.as_ref().is_some_and(Client::is_gone) {
            port.client = None;
        }
        port.client.is_some()
    }

    fn accept(&mut self) {
        let mut port = self.lock();
        port.client = port.accept();
    }

    fn read(&mut self, into: &mut [u8]) -> usize {
        let port = self.lock();
        let Some(client) = &port.client else {
            return 0;
        };
        let mut socket = &client.socket;
        let read = client
            .watched
            .when(|ready| &ready.readable, || socket.read(into));
        // What has failed is closed as well, and found to be so.
        read.unwrap_or(0)
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        let port = self.lock();
        let Some(client) = &port.client else {
            return bytes.len();
        };
        let mut socket = &client.socket;
        let written = client
            .watched
            .when(|ready| &ready.writable, || socket.write(bytes));
        match written {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            // It does not read any more.
            Err(_) => bytes.len(),
        }
    }
}
