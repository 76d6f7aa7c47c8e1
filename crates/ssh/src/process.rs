use std::path::Path;
use std::thread;

use tokio::sync::mpsc::{UnboundedSender, channel, unbounded_channel};
use tokio::sync::oneshot;

use crate::session::{self, Job, Plugs, Request};
use crate::stream::DEPTH;
use crate::{Command, Error, Input, Key, Output, PORT, socket};

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this status.
    Status(u8),
    /// By the signal of this name, without `SIG`.
    Signal(String),
    /// Nobody knows: the guest or its SSH server went away first.
    Unknown,
}

impl Exit {
    /// As a shell has it: 128 and the signal's number for one that a signal ended; none if nothing
    /// is known.
    pub fn status(&self) -> Option<u8> {
        match self {
            Exit::Status(status) => Some(*status),
            Exit::Signal(name) => Some(128 + number(name)),
            Exit::Unknown => None,
        }
    }
}

/// Signals that a command may end by, as Linux numbers them everywhere but on MIPS, SPARC and Alpha.
fn number(name: &str) -> u8 {
    match name {
        "HUP" => 1,
        "INT" => 2,
        "QUIT" => 3,
        "ILL" => 4,
        "TRAP" => 5,
        "ABRT" => 6,
        "BUS" => 7,
        "FPE" => 8,
        "KILL" => 9,
        "USR1" => 10,
        "SEGV" => 11,
        "USR2" => 12,
        "PIPE" => 13,
        "ALRM" => 14,
        "TERM" => 15,
        _ => 127,
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

/// A connection to a guest, for one command after the other. It ends with the last of them once this is
/// dropped.
#[derive(Debug)]
pub struct Connection(UnboundedSender<Job>);

impl Connection {
    /// Connects to the guest whose machine has its socket at `socket`.
    ///
    /// # Errors
    /// When the guest cannot be reached, or does not let `key` in.
    pub fn open(socket: &Path, key: &Key) -> Result<Self, Error> {
        let stream = socket::connect(socket, PORT)?;
        let key = key.for_client()?;
        let (jobs, to_do) = unbounded_channel();
        let (opened, open) = oneshot::channel();
        thread::Builder::new()
            .name("ssh".into())
            .spawn(move || session::serve(stream, key, opened, to_do))
            .map_err(|source| Error::Host {
                what: "a thread",
                source,
            })?;
        open.blocking_recv().unwrap_or(Err(Error::NotReady))?;
        Ok(Self(jobs))
    }

    /// Runs a command. Returns when it has been started, which is when those before it have ended.
    ///
    /// # Errors
    /// When the connection has broken, or the guest does not run it.
    pub fn run(&self, command: Command) -> Result<(Process, Streams), Error> {
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
        let broken = || Error::Connection("it was closed".to_owned());
        self.0.send(job).map_err(|_| broken())?;
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
