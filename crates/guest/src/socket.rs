//! To a port of the guest by the machine's socket.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::Error;

/// A guest that does not answer a connection within this time hangs, or has not come to its driver.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// `OK 4294967295\n`
const LONGEST_ANSWER: usize = 14;

/// Connects to `port` of the guest whose machine has its socket at `socket`.
///
/// # Errors
/// [`Error::NoSocket`] and [`Error::NotReady`].
pub fn connect(socket: &Path, port: u32) -> Result<UnixStream, Error> {
    try_connect(socket, port)?.ok_or(Error::NotReady)
}

/// As [`connect`]; none if nothing in the guest listens there.
pub(crate) fn try_connect(socket: &Path, port: u32) -> Result<Option<UnixStream>, Error> {
    let mut stream = UnixStream::connect(socket).map_err(Error::NoSocket)?;
    match ask(&mut stream, port) {
        Ok(()) => Ok(Some(stream)),
        Err(error) => match error.kind() {
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                Ok(None)
            }
            ErrorKind::InvalidData => {
                Err(Error::Connection("the machine's answer is odd".to_owned()))
            }
            _ => Err(Error::NotReady),
        },
    }
}

/// The stream, for the event loop that this runs in.
pub(crate) fn for_runtime(stream: UnixStream) -> Result<tokio::net::UnixStream, Error> {
    stream
        .set_nonblocking(true)
        .and_then(|()| tokio::net::UnixStream::from_std(stream))
        .map_err(|source| Error::Host {
            what: "an event",
            source,
        })
}

fn ask(stream: &mut UnixStream, port: u32) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("CONNECT {port}\n").as_bytes())?;
    let mut answer = Vec::new();
    // Byte by byte: what comes behind the line is the guest's.
    while answer.last() != Some(&b'\n') {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        answer.push(byte[0]);
        if answer.len() > LONGEST_ANSWER {
            return Err(ErrorKind::InvalidData.into());
        }
    }
    if !answer.starts_with(b"OK ") {
        return Err(ErrorKind::InvalidData.into());
    }
    stream.set_read_timeout(None)
}
