use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use clade_devices::virtio::vsock::VsockStream;

use crate::watch::Watched;

/// A connection's end on the host: a Unix socket that does not block.
pub(super) struct HostStream {
    watched: Watched,
    socket: UnixStream,
    /// What was read too early.
    early: Vec<u8>,
}

impl HostStream {
    pub(super) fn new(watched: Watched, socket: UnixStream, early: Vec<u8>) -> Self {
        Self {
            watched,
            socket,
            early,
        }
    }
}

impl VsockStream for HostStream {
    fn accepted(&mut self, port: u32) {
        // Nothing was written before, so there is room; if the other side is gone, the next write
        // finds out.
        let _ = self.socket.write_all(format!("OK {port}\n").as_bytes());
    }

    fn readable(&self) -> bool {
        !self.early.is_empty() || self.watched.is(|ready| &ready.readable)
    }

    fn closed(&self) -> bool {
        self.watched.is(|ready| &ready.closed)
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if !self.early.is_empty() {
            let count = self.early.len().min(into.len());
            into[..count].copy_from_slice(&self.early[..count]);
            self.early.drain(..count);
            return Ok(count);
        }
        let mut socket = &self.socket;
        self.watched
            .when(|ready| &ready.readable, || socket.read(into))
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut socket = &self.socket;
        self.watched
            .when(|ready| &ready.writable, || socket.write(bytes))
    }

    fn finish(&mut self) {
        // If the other side is gone, it needs no telling.
        let _ = self.socket.shutdown(Shutdown::Write);
    }
}
