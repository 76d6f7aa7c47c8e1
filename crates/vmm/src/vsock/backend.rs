use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clade_devices::virtio::VirtioVsock;
use clade_devices::virtio::vsock::{VsockHost, VsockStream};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::handshake::{Handshake, Progress};
use super::notify::{NotifyStream, OnReady};
use super::stream::HostStream;
use super::{NOTIFY_PORT, SOCKET_FILE};
use crate::watch::{Watch, Watched};

/// The most connections that have not said yet where to; the oldest makes room for a new one.
const MAX_HANDSHAKES: usize = 64;

/// What the socket device works with; outlives a reset of the guest.
pub(crate) struct VsockBackend {
    watch: Arc<Watch>,
    watched_listener: Watched,
    listener: UnixListener,
    /// `FOLDER/vsock.sock`.
    path: PathBuf,
    guest_cid: u32,
    /// Whether the guest may connect to sockets of the host.
    outgoing: bool,
    handshakes: Mutex<VecDeque<Handshake>>,
    on_ready: Mutex<Option<OnReady>>,
}

impl fmt::Debug for VsockBackend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("VsockBackend")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl VsockBackend {
    /// Makes the socket in `folder`, for the machine whose id is `id`.
    ///
    /// # Errors
    /// When it cannot be made there.
    pub(crate) fn open(folder: &Path, id: &str, outgoing: bool) -> io::Result<Arc<Self>> {
        let path = folder.join(SOCKET_FILE);
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        let watch = Watch::new()?;
        Ok(Arc::new(Self {
            watched_listener: watch.add(&listener)?,
            watch,
            listener,
            path,
            guest_cid: guest_cid(id),
            outgoing,
            handshakes: Mutex::default(),
            on_ready: Mutex::default(),
        }))
    }

    /// What is to be done when the guest says that it is ready.
    pub(crate) fn on_ready(&self, on_ready: OnReady) {
        *lock(&self.on_ready) = Some(on_ready);
    }

    /// The guest's address.
    pub(crate) fn guest_cid(&self) -> u32 {
        self.guest_cid
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.watch.descriptor()
    }

    /// Takes in what happened on the host, for `device`.
    pub(super) fn update(&self, device: &VirtioVsock) {
        self.watch.update();
        let mut handshakes = lock(&self.handshakes);
        while let Some(socket) = self.accept() {
            let Ok(watched) = self.watch.add(&socket) else {
                continue;
            };
            if handshakes.len() == MAX_HANDSHAKES {
                handshakes.pop_front();
            }
            handshakes.push_back(Handshake::new(watched, socket));
        }
        for handshake in std::mem::take(&mut *handshakes) {
            match handshake.proceed() {
                Progress::Waiting(handshake) => handshakes.push_back(handshake),
                Progress::Done(port, stream) => device.connect(port, Box::new(stream)),
                Progress::Failed => {}
            }
        }
    }

    fn accept(&self) -> Option<UnixStream> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let mut accepted = None;
        let attempt = || {
            accepted = Some(rustix::net::accept_with(&self.listener, flags)?);
            Ok(0)
        };
        // If the host is out of descriptors, others must close theirs first; the next connection
        // that comes makes it try again.
        let _ = self.watched_listener.when(|ready| &ready.readable, attempt);
        accepted.map(UnixStream::from)
    }

    fn connect_to_host(&self, port: u32) -> io::Result<HostStream> {
        let mut path = self.path.clone().into_os_string();
        path.push(format!("_{port}"));
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let family = AddressFamily::UNIX;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(&path)?)?;
        let watched = self.watch.add(&socket)?;
        Ok(HostStream::new(
            watched,
            UnixStream::from(socket),
            Vec::new(),
        ))
    }
}

impl VsockHost for VsockBackend {
    fn connect(&self, port: u32) -> Option<Box<dyn VsockStream>> {
        if port == NOTIFY_PORT
            && let Some(on_ready) = lock(&self.on_ready).clone()
        {
            return Some(Box::new(NotifyStream::new(on_ready)));
        }
        if !self.outgoing {
            return None;
        }
        Some(Box::new(self.connect_to_host(port).ok()?))
    }
}

/// An address for the machine whose id is `id`, 3 to `0xffff_fffe`: as good as its own, though
/// nothing needs it to be.
fn guest_cid(id: &str) -> u32 {
    let digits = id.get(..8).unwrap_or(id);
    let number = u32::from_str_radix(digits, 16).unwrap_or(3);
    number.clamp(3, u32::MAX - 1)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
