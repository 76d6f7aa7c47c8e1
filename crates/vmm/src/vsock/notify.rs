//! What the guest says of itself in systemd's words (sd_notify): lines `NAME=VALUE`.

use std::io;
use std::sync::Arc;

use clade_devices::virtio::vsock::VsockStream;

/// More than this is nobody's message.
const MAX_MESSAGE: usize = 4096;

/// Called when the guest says that it is ready.
pub(crate) type OnReady = Arc<dyn Fn() + Send + Sync>;

/// A connection of the guest's to [`super::NOTIFY_PORT`].
pub(super) struct NotifyStream {
    message: Vec<u8>,
    on_ready: OnReady,
    over: bool,
}

impl NotifyStream {
    pub(super) fn new(on_ready: OnReady) -> Self {
        Self {
            message: Vec::new(),
            on_ready,
            over: false,
        }
    }

    /// Takes whole lines out of what has come.
    fn understand(&mut self) {
        while let Some(end) = self.message.iter().position(|byte| *byte == b'\n') {
            if self.message[..end] == *b"READY=1" {
                (self.on_ready)();
            }
            self.message.drain(..=end);
        }
    }
}

impl VsockStream for NotifyStream {
    fn accepted(&mut self, _port: u32) {}

    fn readable(&self) -> bool {
        self.over
    }

    fn closed(&self) -> bool {
        self.over
    }

    /// The guest waits for the end: then it knows that its message has been taken.
    fn read(&mut self, _into: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.message.len() + bytes.len() > MAX_MESSAGE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.message.extend(bytes);
        self.understand();
        Ok(bytes.len())
    }

    fn finish(&mut self) {
        self.message.push(b'\n');
        self.understand();
        self.over = true;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn ready_is_heard_however_it_comes() {
        let count = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&count);
        let on_ready: OnReady = Arc::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        let say = |pieces: &[&[u8]]| {
            let mut stream = NotifyStream::new(Arc::clone(&on_ready));
            pieces.iter().for_each(|piece| {
                assert_eq!(stream.write(piece).expect("taken"), piece.len());
            });
            stream.finish();
            assert!(stream.readable());
            count.swap(0, Ordering::SeqCst)
        };
        assert_eq!(say(&[b"READY=1\nSTATUS=up\n"]), 1);
        assert_eq!(say(&[b"STATUS=up\nREA", b"DY=1"]), 1);
        assert_eq!(say(&[b"READY=0\nXREADY=1\nREADY=11\n"]), 0);
        assert_eq!(say(&[b"X_SYSTEMD_UNIT_ACTIVE=ssh.socket"]), 0);
    }

    #[test]
    fn nobody_makes_it_keep_more_than_a_message() {
        let mut stream = NotifyStream::new(Arc::new(|| ()));
        assert!(stream.write(&[b'x'; MAX_MESSAGE]).is_ok());
        assert!(stream.write(b"x").is_err());
    }
}
