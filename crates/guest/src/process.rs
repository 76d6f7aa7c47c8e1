use std::borrow::Cow;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::sync::mpsc::{UnboundedSender, channel, unbounded_channel};
use tokio::sync::oneshot;

use crate::job::{Job, Plugs, Request};
use crate::stream::DEPTH;
use crate::{Command, Error, Input, Key, Output, agent, socket, ssh};

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Status(u8),
    /// By the signal of this name, without `SIG`.
    Signal(String),
    /// Nobody knows: the guest or what runs commands there went away first.
    Unknown,
}

impl Exit {
    /// As a shell has it: 128 and the signal's number for one that a signal ended; none if nothing
    /// is known.
    pub fn status(&self) -> Option<u8> {
        match self {
            Exit::Status(status) => Some(*status),
            Exit::Signal(name) => Some(128_u8.saturating_add(signal_number(name))),
            Exit::Unknown => None,
        }
    }
}

/// Signals by SSH's names (RFC 4254, section 6.10, and more), as Linux numbers them everywhere but on MIPS, SPARC and
/// Alpha.
const SIGNALS: [(&str, u8); 15] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
];

/// The number of a signal; of one that is not listed, by which a number is its own name.
pub(crate) fn signal_number(name: &str) -> u8 {
    let listed = SIGNALS.iter().find(|(known, _)| *known == name);
    match listed {
        Some((_, number)) => *number,
        None => name.parse().unwrap_or(127),
    }
}

/// What [`signal_number`] knows it by.
pub(crate) fn signal_name(number: u8) -> Cow<'static, str> {
    match SIGNALS.iter().find(|(_, known)| *known == number) {
        Some((name, _)) => Cow::Borrowed(name),
        None => Cow::Owned(number.to_string()),
    }
}

/// A command that runs in a guest.
#[derive(Debug)]
pub struct Process {
    control: Control,
    exit: oneshot::Receiver<Result<Exit, Error>>,
}

/// A command's streams, each for any thread. Both outputs want a reader: what one of them does not
/// take holds up the other.
#[derive(Debug)]
pub struct Streams {
    /// What it reads.
    pub input: Input,
    /// What it writes on standard output; with a terminal, all that it writes. If this is dropped,
    /// the command is ended as one is whose pipe nobody reads.
    pub output: Output,
    /// What it writes on standard error.
    pub errors: Output,
}

/// Tells a running command of signals and sizes, from any thread.
#[derive(Debug, Clone)]
pub struct Control(UnboundedSender<Request>);

impl Control {
    /// Sends it the signal of this name, without `SIG`.
    pub fn signal(&self, name: &'static str) {
        // If it is gone, it needs no signal.
        let _ = self.0.send(Request::Signal(name));
    }

    /// Leaves it: its terminal hangs up, and nobody learns how it ends.
    pub fn hang_up(&self) {
        let _ = self.0.send(Request::HangUp);
    }

    /// Its terminal has this many columns and rows now.
    pub fn resize(&self, size: (u16, u16)) {
        let _ = self.0.send(Request::Resize(size));
    }
}

/// A way into a guest, for one command after the other. It ends with the last of them once this is dropped.
#[derive(Debug)]
pub struct Connection(Way);

#[derive(Debug)]
enum Way {
    /// By the agent of our images: each command has a stream of its own, and the first that which is there.
    Agent {
        socket: PathBuf,
        open: Option<UnixStream>,
    },
    Ssh(UnboundedSender<Job>),
}

impl Connection {
    /// Connects to the guest whose machine has its socket at `socket`: to its agent, or if there is none to
    /// its SSH server.
    ///
    /// # Errors
    /// When the guest cannot be reached, or its SSH server does not let `key` in.
    pub fn open(socket: &Path, key: &Key) -> Result<Self, Error> {
        Ok(Self(match agent::connect(socket)? {
            Some(stream) => Way::Agent {
                socket: socket.to_owned(),
                open: Some(stream),
            },
            None => Way::Ssh(ssh::open_connection(
                socket::connect(socket, ssh::PORT)?,
                key,
            )?),
        }))
    }

    /// Whether commands are run by the agent, which can do what SSH cannot ([`Command::clock`],
    /// [`Command::outer`]).
    pub fn is_agent(&self) -> bool {
        matches!(self.0, Way::Agent { .. })
    }

    fn send(&mut self, job: Job) -> Result<(), Error> {
        match &mut self.0 {
            Way::Agent { socket, open } => {
                let stream = match open.take() {
                    Some(stream) => stream,
                    None => agent::connect(socket)?.ok_or(Error::NotReady)?,
                };
                agent::spawn(stream, job)
            }
            Way::Ssh(jobs) => jobs.send(job).map_err(|_| broken()),
        }
    }

    /// Runs a command. Returns when it has been started, which is when those before it have ended.
    ///
    /// # Errors
    /// When the connection has broken, or the guest does not run it.
    pub fn run(&mut self, command: Command) -> Result<(Process, Streams), Error> {
        let (input, from_input) = channel(DEPTH);
        let (to_output, output) = channel(DEPTH);
        let (to_errors, errors) = channel(DEPTH);
        let (control, requests) = unbounded_channel();
        let (started, start) = oneshot::channel();
        let (ended, exit) = oneshot::channel();
        let job = Job {
            command,
            plugs: Plugs {
                input: from_input,
                output: to_output,
                errors: to_errors,
                requests,
            },
            started,
            ended,
        };
        self.send(job)?;
        let process = Process {
            control: Control(control),
            exit,
        };
        let streams = Streams {
            input: Input(input),
            output: Output::new(output),
            errors: Output::new(errors),
        };
        match start.blocking_recv() {
            Ok(()) => Ok((process, streams)),
            Err(_) => Err(process.wait().err().unwrap_or_else(broken)),
        }
    }
}

fn broken() -> Error {
    Error::Connection("it was closed".to_owned())
}

impl Process {
    /// Runs a command over a connection of its own. Returns when it has been started.
    ///
    /// # Errors
    /// As those of [`Connection::open`] and [`Connection::run`].
    pub fn start(socket: &Path, key: &Key, command: Command) -> Result<(Self, Streams), Error> {
        Connection::open(socket, key)?.run(command)
    }

    /// Tells it of signals and sizes.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// Waits for the command's end.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn wait(self) -> Result<Exit, Error> {
        self.exit.blocking_recv().unwrap_or(Ok(Exit::Unknown))
    }
}
