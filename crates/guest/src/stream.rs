//! Streams between the threads of a program and a connection.

use std::io::{self, ErrorKind, Read, Write};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc::{Receiver, Sender};

/// How many pieces wait in a stream.
pub(crate) const DEPTH: usize = 8;

/// The largest piece, in bytes: what fits into one packet.
const PIECE: usize = 32 << 10;

/// What a command reads. It ends when this is dropped.
#[derive(Debug)]
pub struct Input(pub(crate) Sender<Bytes>);

impl Write for Input {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(PIECE)];
        if piece.is_empty() {
            return Ok(0);
        }
        self.0
            .blocking_send(Bytes::copy_from_slice(piece))
            .map_err(|_| io::Error::from(ErrorKind::BrokenPipe))?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a command writes.
#[derive(Debug)]
pub struct Output {
    pieces: Receiver<Bytes>,
    rest: Bytes,
}

impl Output {
    pub(crate) fn new(pieces: Receiver<Bytes>) -> Self {
        Self {
            pieces,
            rest: Bytes::new(),
        }
    }
}

impl Read for Output {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.rest = piece,
                None => return Ok(0),
            }
        }
        let count = self.rest.len().min(into.len());
        self.rest.copy_to_slice(&mut into[..count]);
        Ok(count)
    }
}
