use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;

use super::stream::HostStream;
use crate::watch::Watched;

/// Longer than any `CONNECT PORT\n`.
const MAX_REQUEST: usize = 64;

/// Somebody on the host who has connected and has not said yet where to.
pub(super) struct Handshake {
    watched: Watched,
    socket: UnixStream,
    request: Vec<u8>,
}

/// How far a handshake is.
pub(super) enum Progress {
    /// There is more to come.
    Waiting(Handshake),
    /// To this port.
    Done(u32, HostStream),
    /// It was something else.
    Failed,
}

impl Handshake {
    pub(super) fn new(watched: Watched, socket: UnixStream) -> Self {
        Self {
            watched,
            socket,
            request: Vec::new(),
        }
    }

    pub(super) fn proceed(mut self) -> Progress {
        let mut piece = [0; MAX_REQUEST];
        let mut socket = &self.socket;
        let read = self
            .watched
            .when(|ready| &ready.readable, || socket.read(&mut piece));
        match read {
            Ok(0) => return Progress::Failed,
            Ok(count) => self.request.extend(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return Progress::Failed,
        }
        let Some(end) = self.request.iter().position(|byte| *byte == b'\n') else {
            return if self.request.len() < MAX_REQUEST {
                Progress::Waiting(self)
            } else {
                Progress::Failed
            };
        };
        let early = self.request.split_off(end + 1);
        match port_of(&self.request[..end]) {
            Some(port) => Progress::Done(port, HostStream::new(self.watched, self.socket, early)),
            None => Progress::Failed,
        }
    }
}

fn port_of(line: &[u8]) -> Option<u32> {
    let line = str::from_utf8(line).ok()?;
    let (word, port) = line.trim_end_matches('\r').split_once(' ')?;
    word.eq_ignore_ascii_case("connect")
        .then(|| port.trim().parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_understood_as_firecracker_does() {
        assert_eq!(port_of(b"CONNECT 22"), Some(22));
        assert_eq!(port_of(b"connect 4294967295\r"), Some(u32::MAX));
        for bad in [
            "CONNECT",
            "CONNECT ",
            "CONNECT x",
            "CONNECT -1",
            "CONNECT 4294967296",
            "GET 1",
        ] {
            assert_eq!(port_of(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(port_of(b"CONNECT \xff"), None);
    }
}
