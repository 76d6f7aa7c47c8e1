//! The client's end of a control connection.

use std::io::{self, BufReader};
use std::net::Shutdown;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::wire::{self, WireError};
use super::{FromMachine, Request, files};

/// A connection to a machine.
#[derive(Debug)]
pub struct Connection {
    /// The way to the machine.
    pub sender: Sender,
    /// The way from the machine.
    pub receiver: Receiver,
}

/// Sends to a machine; clones share the connection, and their frames do not mix.
#[derive(Debug, Clone)]
pub struct Sender {
    stream: Arc<Mutex<UnixStream>>,
}

/// Receives from a machine.
#[derive(Debug)]
pub struct Receiver {
    stream: BufReader<UnixStream>,
}

impl Connection {
    /// Connects to the control socket at `path`.
    ///
    /// # Errors
    /// When nobody listens there.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::over(UnixStream::connect(path)?)
    }

    /// Speaks over a stream that is connected already.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn over(stream: UnixStream) -> io::Result<Self> {
        let receiver = Receiver {
            stream: BufReader::with_capacity(64 << 10, stream.try_clone()?),
        };
        let sender = Sender {
            stream: Arc::new(Mutex::new(stream)),
        };
        Ok(Self { sender, receiver })
    }
}

impl Sender {
    /// Sends a request.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn request(&self, request: &Request) -> io::Result<()> {
        self.with_stream(|stream| wire::write_request(stream, request))
    }

    /// Sends input for the guest's console. The caller keeps to its window.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn input(&self, bytes: &[u8]) -> io::Result<()> {
        self.with_stream(|stream| wire::write_input(stream, bytes))
    }

    /// Sends files, which the machine has asked for.
    ///
    /// # Errors
    /// When the connection is broken.
    pub fn files(&self, files: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.with_stream(|stream| files::send(stream, files))
    }

    /// Closes the connection in both directions: a receiver that waits returns.
    pub fn close(&self) {
        // It may be closed already.
        let _ = self.with_stream(|stream| stream.shutdown(Shutdown::Both));
    }

    fn with_stream<T>(&self, act: impl FnOnce(&mut UnixStream) -> T) -> T {
        act(&mut self.stream.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Receiver {
    /// Waits for the next frame; `None` when the machine closed the connection.
    ///
    /// # Errors
    /// When the connection breaks, or the machine's process is of another version.
    pub fn receive(&mut self) -> Result<Option<FromMachine>, WireError> {
        wire::read_from_machine(&mut self.stream)
    }

    /// Lets [`Receiver::receive`] fail after `patience`; `None`: never.
    ///
    /// # Errors
    /// When the host refuses, or `patience` is zero.
    pub fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(patience)
    }
}
