//! What is said on a connection to the agent: frames, of a header and content. The other side, and what each
//! frame means, is in `crates/images/guest/agent/protocol.h`.

use std::io::{self, ErrorKind};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{Command, Error};

/// The guest's port; why this one is said where the agent listens.
pub(crate) const PORT: u32 = 40;

/// The one version that there is.
pub(super) const VERSION: u32 = 1;

/// How much of a command's input may be on its way, in bytes.
pub(super) const WINDOW: usize = 64 << 10;

/// The longest shell's command line, in bytes: Linux takes no longer argument (execve(2)).
pub(super) const LONGEST_LINE: usize = (128 << 10) - 1;

/// The longest name of a kind of terminal, in bytes.
const LONGEST_TERM: usize = 100;

/// The most that a frame of the agent's carries, in bytes.
const PIECE: usize = 32 << 10;

const HELLO: u32 = 1;
const STARTED: u32 = 2;
const FAILED: u32 = 3;
const OUTPUT: u32 = 4;
const ERRORS: u32 = 5;
const TAKEN: u32 = 6;
const CLOSED: u32 = 7;
const EXIT: u32 = 8;
const RUN: u32 = 16;
const INPUT: u32 = 17;
const SIGNAL: u32 = 18;
const SIZE: u32 = 19;

const TERMINAL: u32 = 1;
const SET_CLOCK: u32 = 2;
const OUTER: u32 = 4;
const SET_ADDRESS: u32 = 8;

/// How long the greeting is that the agent speaks first, in bytes.
pub(super) const HELLO_LENGTH: usize = 12;

/// What the agent says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Hello { version: u32 },
    Started,
    Failed { errno: u32 },
    Output(Bytes),
    Errors(Bytes),
    Taken(u32),
    Closed,
    Exit { status: u32 },
}

/// What the agent is told once the command runs.
#[derive(Debug)]
pub(super) enum Order {
    Input(Bytes),
    EndOfInput,
    Signal(u32),
    Size { rows: u16, columns: u16 },
}

/// The version that the agent's greeting tells.
pub(super) fn version(greeting: [u8; HELLO_LENGTH]) -> Option<u32> {
    let (head, version) = greeting.split_at(HELLO_LENGTH - 4);
    let is_hello = *head == *frame_header(HELLO, 4);
    let version = version.try_into().map(u32::from_le_bytes);
    version.ok().filter(|_| is_hello)
}

/// Reads the agent's next frame; none if the connection has ended.
///
/// # Errors
/// It is no frame of the agent's, or cannot be read.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Answer>> {
    let kind = match from.read_u32_le().await {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        kind => kind?,
    };
    let length = from.read_u32_le().await? as usize;
    if length > PIECE {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut content = BytesMut::zeroed(length);
    from.read_exact(&mut content).await?;
    let number = || {
        let bytes = content[..].try_into();
        bytes.map(u32::from_le_bytes).map_err(io::Error::other)
    };
    Ok(Some(match kind {
        HELLO => Answer::Hello { version: number()? },
        STARTED => Answer::Started,
        FAILED => Answer::Failed { errno: number()? },
        OUTPUT => Answer::Output(content.freeze()),
        ERRORS => Answer::Errors(content.freeze()),
        TAKEN => Answer::Taken(number()?),
        CLOSED => Answer::Closed,
        EXIT => Answer::Exit { status: number()? },
        _ => return Err(ErrorKind::InvalidData.into()),
    }))
}

/// The frame that asks for `command`.
///
/// # Errors
/// The command is too long.
pub(super) fn run(command: &Command) -> Result<Bytes, Error> {
    let line = command.line();
    if line.len() > LONGEST_LINE {
        return Err(Error::TooLong(line.len()));
    }
    let mut flags = 0;
    let (mut size, mut term) = ((0, 0), "");
    if let Some(terminal) = &command.terminal {
        flags |= TERMINAL;
        size = terminal.size;
        if terminal.kind.len() <= LONGEST_TERM {
            term = &terminal.kind;
        }
    }
    if command.clock.is_some() {
        flags |= SET_CLOCK;
    }
    if command.outer {
        flags |= OUTER;
    }
    if command.address.is_some() {
        flags |= SET_ADDRESS;
    }
    let time = command.clock.unwrap_or_default();
    let mut content = BytesMut::new();
    content.put_u32_le(flags);
    content.put_u16_le(size.1);
    content.put_u16_le(size.0);
    content.put_u64_le(time.as_secs());
    content.put_u64_le(time.subsec_nanos().into());
    content.put_slice(&command.address.unwrap_or_default());
    content.put_u16_le(0);
    for text in [term, &line] {
        // A zero is the end of a string in every program's arguments.
        content.extend(text.bytes().filter(|byte| *byte != 0));
        content.put_u8(0);
    }
    Ok(frame(RUN, &content))
}

impl Order {
    pub(super) fn frame(&self) -> Bytes {
        match self {
            Order::Input(bytes) => frame(INPUT, bytes),
            Order::EndOfInput => frame(INPUT, &[]),
            Order::Signal(number) => frame(SIGNAL, &number.to_le_bytes()),
            Order::Size { rows, columns } => {
                let [rows, columns] = [rows, columns].map(|count| count.to_le_bytes());
                frame(SIZE, &[rows, columns].concat())
            }
        }
    }
}

fn frame(kind: u32, content: &[u8]) -> Bytes {
    let mut frame = BytesMut::from(&frame_header(kind, content.len())[..]);
    frame.put_slice(content);
    frame.freeze()
}

/// `length` is less than 4 GiB by far.
fn frame_header(kind: u32, length: usize) -> Vec<u8> {
    [kind, length as u32].map(u32::to_le_bytes).concat()
}
