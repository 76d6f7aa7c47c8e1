//! Frames: one byte of kind, four bytes of length (little-endian), then that many bytes.

use std::io::{self, ErrorKind, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Event, FromClient, FromMachine, Request};

/// No frame carries more than this many bytes.
pub const FRAME_LIMIT: usize = 64 << 10;

const BYTES: u8 = 0;
const MESSAGE: u8 = 1;

/// Why a frame could not be read.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The peer does not keep to the protocol, or speaks another version of it.
    #[error("the other side speaks another version of Clade's control protocol ({0})")]
    Protocol(String),
}

/// Reads a client's frame; `None` at the end of the stream.
pub(super) fn read_from_client(reader: &mut impl Read) -> Result<Option<FromClient>, WireError> {
    Ok(match read_frame(reader)? {
        None => None,
        Some((BYTES, bytes)) => Some(FromClient::Input(bytes)),
        Some((kind, bytes)) => Some(FromClient::Request(parse(kind, &bytes)?)),
    })
}

/// Reads a machine's frame; `None` at the end of the stream.
pub(super) fn read_from_machine(reader: &mut impl Read) -> Result<Option<FromMachine>, WireError> {
    Ok(match read_frame(reader)? {
        None => None,
        Some((BYTES, bytes)) => Some(FromMachine::Output(bytes)),
        Some((kind, bytes)) => Some(FromMachine::Event(parse(kind, &bytes)?)),
    })
}

/// Writes input in frames of the allowed size.
pub(super) fn write_input(writer: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    bytes
        .chunks(FRAME_LIMIT)
        .try_for_each(|piece| write_frame(writer, BYTES, piece))
}

/// Writes a request.
pub(super) fn write_request(writer: &mut impl Write, request: &Request) -> io::Result<()> {
    write_message(writer, request)
}

/// Writes messages to a client with as few system calls as the frames allow.
pub(super) fn write_to_client(writer: &mut impl Write, messages: &[FromMachine]) -> io::Result<()> {
    let mut buffer = Vec::new();
    for message in messages {
        match message {
            FromMachine::Output(bytes) => {
                for piece in bytes.chunks(FRAME_LIMIT) {
                    write_frame(&mut buffer, BYTES, piece)?;
                }
            }
            FromMachine::Event(event) => write_event(&mut buffer, event)?,
        }
        if buffer.len() >= FRAME_LIMIT {
            writer.write_all(&buffer)?;
            buffer.clear();
        }
    }
    writer.write_all(&buffer)
}

fn write_event(writer: &mut impl Write, event: &Event) -> io::Result<()> {
    write_message(writer, event)
}

fn write_message(writer: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    if text.len() > FRAME_LIMIT {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            "a control message is too long",
        ));
    }
    write_frame(writer, MESSAGE, &text)
}

fn write_frame(writer: &mut impl Write, kind: u8, bytes: &[u8]) -> io::Result<()> {
    let length =
        u32::try_from(bytes.len()).map_err(|_| io::Error::from(ErrorKind::InvalidInput))?;
    let mut frame = Vec::with_capacity(5 + bytes.len());
    frame.push(kind);
    frame.extend(length.to_le_bytes());
    frame.extend(bytes);
    writer.write_all(&frame)
}

fn read_frame(reader: &mut impl Read) -> Result<Option<(u8, Vec<u8>)>, WireError> {
    let mut kind = [0; 1];
    if read_or_end(reader, &mut kind)? == 0 {
        return Ok(None);
    }
    let mut length = [0; 4];
    reader.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > FRAME_LIMIT {
        return Err(WireError::Protocol(format!("a frame of {length} bytes")));
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes)?;
    Ok(Some((kind[0], bytes)))
}

fn read_or_end(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match reader.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

fn parse<T: DeserializeOwned>(kind: u8, bytes: &[u8]) -> Result<T, WireError> {
    if kind != MESSAGE {
        return Err(WireError::Protocol(format!("a frame of kind {kind}")));
    }
    serde_json::from_slice(bytes).map_err(|error| WireError::Protocol(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::control::{Status, TerminalSize};
    use crate::outcome::Outcome;
    use crate::stats::MachineStats;

    #[test]
    fn messages_come_back_as_they_were_sent() {
        let sent = [
            FromMachine::Event(Event::Ready),
            FromMachine::Output(b"\0\xffhello".to_vec()),
            FromMachine::Event(Event::Status(Status {
                pid: 7,
                begun: true,
                foreground: true,
                ready: true,
                paused: false,
                uptime: 3,
            })),
            FromMachine::Event(Event::InputTaken { bytes: 9 }),
            FromMachine::Event(Event::Stats(MachineStats {
                vcpu_time: Duration::from_millis(1234),
                ..MachineStats::default()
            })),
            FromMachine::Event(Event::Ended(Outcome::Panicked("why".into()))),
        ];
        let mut stream = Vec::new();
        write_to_client(&mut stream, &sent).expect("write");
        let mut reader = stream.as_slice();
        for message in sent {
            assert_eq!(read_from_machine(&mut reader).expect("read"), Some(message));
        }
        assert_eq!(read_from_machine(&mut reader).expect("end"), None);

        let mut stream = Vec::new();
        let resize = Request::Resize(TerminalSize {
            columns: 80,
            rows: 24,
        });
        write_request(&mut stream, &resize).expect("write");
        write_input(&mut stream, &vec![7; FRAME_LIMIT + 1]).expect("write");
        let mut reader = stream.as_slice();
        let mut next = || read_from_client(&mut reader).expect("read");
        assert_eq!(next(), Some(FromClient::Request(resize)));
        assert_eq!(next(), Some(FromClient::Input(vec![7; FRAME_LIMIT])));
        assert_eq!(next(), Some(FromClient::Input(vec![7])));
        assert_eq!(next(), None);
    }

    #[test]
    fn a_cut_stream_is_an_error_and_not_an_end() {
        let mut stream = Vec::new();
        write_request(&mut stream, &Request::Stop).expect("write");
        for length in 1..stream.len() {
            assert!(
                read_from_client(&mut &stream[..length]).is_err(),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn an_oversized_frame_is_refused_before_it_is_allocated() {
        let frame = [BYTES, 0xff, 0xff, 0xff, 0xff];
        let error = read_from_client(&mut frame.as_slice()).expect_err("too long");
        assert!(matches!(error, WireError::Protocol(_)));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = bytes.as_slice();
            while let Ok(Some(_)) = read_from_client(&mut reader) {}
        }
    }
}
