//! The socket device: whatever a driver puts into memory and registers, and whatever the host's
//! sockets do, nothing panics or hangs.
//!
//! `cargo +nightly fuzz run vsock`

#![no_main]

mod driver;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use clade_devices::virtio::VirtioVsock;
use clade_devices::virtio::vsock::{VsockHost, VsockStream};
use driver::{Board, Nothing, Work};
use libfuzzer_sys::fuzz_target;

/// A socket that does one thing after the other, as its number says, and ends.
struct Stream {
    number: u32,
    left: u32,
    finished: bool,
}

impl Stream {
    fn of(number: u32) -> Box<dyn VsockStream> {
        Box::new(Self {
            number,
            left: number % 100,
            finished: false,
        })
    }

    /// How many bytes of `most` go through now.
    fn some(&mut self, most: usize) -> io::Result<usize> {
        self.left = self.left.saturating_sub(1);
        self.number = self
            .number
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        match self.number >> 29 {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            1 if self.number >> 20 & 15 == 0 => Err(io::ErrorKind::ConnectionReset.into()),
            2 => Ok(most),
            part => Ok((most * part as usize / 8).clamp(1, most.max(1))),
        }
    }
}

impl VsockStream for Stream {
    fn accepted(&mut self, _port: u32) {}

    fn readable(&self) -> bool {
        !self.closed() && self.number & 1 << 28 == 0
    }

    fn closed(&self) -> bool {
        self.left == 0 && self.finished
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let length = self.some(into.len())?.min(into.len());
        into[..length].fill(0x55);
        Ok(length)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert!(!self.finished, "more after the end");
        Ok(self.some(bytes.len())?.min(bytes.len()))
    }

    fn finish(&mut self) {
        self.finished = true;
    }
}

/// Takes most connections.
#[derive(Default)]
struct Host(AtomicU32);

impl VsockHost for Host {
    fn connect(&self, port: u32) -> Option<Box<dyn VsockStream>> {
        let number = self.0.fetch_add(0x1234_5679, Ordering::Relaxed);
        (port % 8 != 7).then(|| Stream::of(number ^ port))
    }
}

/// More rounds than a guest with three queues of eight can give work to.
const ROUNDS: usize = 10_000;

fuzz_target!(|bytes: &[u8]| {
    let device = VirtioVsock::new(3, Arc::new(Host::default()), Arc::new(Nothing));
    Board::new(device.clone(), 3).play(bytes, |work| {
        if let Work::Host(value) = work {
            device.connect(value as u32, Stream::of((value >> 32) as u32));
        }
        let rounds = (0..ROUNDS).take_while(|_| device.process()).count();
        assert!(rounds < ROUNDS, "there is always more to do");
    });
    device.restore(&device.save());
});
