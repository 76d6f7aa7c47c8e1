//! To a port of the guest by the machine's socket.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use crate::{Error, PORT};

/// A guest that does not answer a connection within this time hangs, or has not come to its driver.
const PATIENCE: Duration = Duration::from_secs(20);

/// `OK 4294967295\n`
const LONGEST_ANSWER: usize = 14;

/// Connects to `port` of the guest whose machine has its socket at `socket`.
///
/// # Errors
/// [`Error::NoSocket`] and [`Error::NotReady`].
pub fn connect(socket: &Path, port: u32) -> Result<UnixStream, Error> {
    let mut stream = UnixStream::connect(socket).map_err(Error::NoSocket)?;
    let answered = ask(&mut stream, port);
    answered.map_err(|error| match error.kind() {
        ErrorKind::InvalidData => Error::Connection("the machine's answer is odd".to_owned()),
        _ => Error::NotReady,
    })?;
    Ok(stream)
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

/// Whether the guest's SSH server answers.
pub fn is_ready(socket: &Path) -> bool {
    let greet = || -> io::Result<bool> {
        let Ok(mut stream) = connect(socket, PORT) else {
            return Ok(false);
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut greeting = [0; 4];
        stream.read_exact(&mut greeting)?;
        Ok(greeting == *b"SSH-")
    };
    greet().unwrap_or(false)
}
