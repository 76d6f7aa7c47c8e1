//! One machine.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clade_store::snapshots::Size;
use clade_vmm::control::{Connection, Event, FromMachine, Request, SOCKET_FILE, Status, WireError};
use clade_vmm::record::LifeRecord;
use clade_vmm::spec::MachineSpec;
use clade_vmm::vsock;

use crate::state::lock_pid;
use crate::{Error, Machines, State};

/// A machine that does not answer within this time is said to hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// A machine, as it was when it was looked at.
#[derive(Debug, Clone)]
pub struct Machine {
    /// What it is.
    pub spec: MachineSpec,
    /// How it is.
    pub state: State,
    pub(crate) folder: PathBuf,
    pub(crate) machines: Machines,
    pub(crate) record: Option<LifeRecord>,
}

impl Machine {
    /// Where all that the machine has is: its spec, its logs, its disks.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What is known of its latest life; `None` if it has never run.
    pub fn record(&self) -> Option<&LifeRecord> {
        self.record.as_ref()
    }

    /// The room that all that it has takes on disk.
    ///
    /// # Errors
    /// When its folder cannot be read.
    pub fn size(&self) -> Result<Size, Error> {
        Ok(Size::of_folder(&self.folder)?)
    }

    /// Whether it has run on ever since it was `earlier`.
    pub(crate) fn is_same_life(&self, earlier: &Machine) -> bool {
        let of = |machine: &Machine| {
            let life = machine.record.as_ref();
            life.map(|life| (life.pid, life.started))
        };
        of(self) == of(earlier)
    }

    /// The folder of its sockets, which exists while it runs.
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn sockets(&self) -> Result<&Path, Error> {
        match (&self.state, &self.record) {
            (State::Running { .. }, Some(record)) => Ok(&record.sockets),
            _ => Err(self.not_running()),
        }
    }

    /// The machine as it is now; `None` if it has been removed.
    ///
    /// # Errors
    /// When its folder cannot be read.
    pub fn refresh(&self) -> Result<Option<Machine>, Error> {
        self.machines.again(self)
    }

    /// Connects to the machine's control socket.
    ///
    /// # Errors
    /// [`Error::NotRunning`], and when it does not answer.
    pub fn connect(&self) -> Result<Connection, Error> {
        Connection::open(&self.sockets()?.join(SOCKET_FILE))
            .map_err(|error| self.no_answer(error.to_string()))
    }

    /// The socket that leads to the guest's ports; see [`clade_vmm::vsock`].
    ///
    /// # Errors
    /// [`Error::NotRunning`].
    pub fn vsock(&self) -> Result<PathBuf, Error> {
        Ok(self.sockets()?.join(vsock::SOCKET_FILE))
    }

    /// Asks the machine how it is.
    ///
    /// # Errors
    /// When it does not run, or does not answer.
    pub fn status(&self) -> Result<Status, Error> {
        self.ask(&Request::Status, PATIENCE, |event| match event {
            Event::Status(status) => Some(status),
            _ => None,
        })
    }

    /// Refuses a machine that is paused: who asks its guest for something would wait.
    ///
    /// # Errors
    /// [`Error::Paused`], and [`Error::NotRunning`].
    pub fn check_awake(&self) -> Result<(), Error> {
        self.sockets()?;
        // One that does not say how it is may have a guest that answers all the same.
        match self.status() {
            Ok(status) if status.paused => Err(Error::Paused {
                name: self.spec.name.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// Asks the machine for something, and waits for the event that `answer` takes for the answer.
    pub(crate) fn ask<T>(
        &self,
        request: &Request,
        patience: Duration,
        answer: impl Fn(Event) -> Option<T>,
    ) -> Result<T, Error> {
        let answered = self.ask_last(request, patience, answer)?;
        answered.ok_or_else(|| self.no_answer("it is about to end".into()))
    }

    /// The same for what may be the last that it is asked: `None` if it ends without an answer.
    pub(crate) fn ask_last<T>(
        &self,
        request: &Request,
        patience: Duration,
        answer: impl Fn(Event) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let mut connection = self.connect()?;
        self.tell(&connection, request)?;
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next_event(&mut connection, left)? {
                Next::Event(event) => {
                    if let Some(answer) = answer(event) {
                        return Ok(Some(answer));
                    }
                }
                Next::Gone => return Ok(None),
                Next::Silence => {}
            }
            if left.is_zero() {
                return Err(self.no_answer("it takes too long".into()));
            }
        }
    }

    /// The machine's process, if it has one that got as far as to say so.
    pub fn pid(&self) -> Option<u32> {
        lock_pid(&self.folder).filter(|_| self.state.is_live())
    }

    pub(crate) fn tell(&self, connection: &Connection, request: &Request) -> Result<(), Error> {
        let sent = connection.sender.request(request);
        sent.map_err(|error| self.no_answer(error.to_string()))
    }

    /// Waits for the machine's next event, but not longer than `patience`.
    pub(crate) fn next_event(
        &self,
        connection: &mut Connection,
        patience: Duration,
    ) -> Result<Next, Error> {
        let receiver = &mut connection.receiver;
        // Zero would mean for ever.
        let patience = Some(patience.max(Duration::from_millis(1)));
        let failed = |error: String| self.no_answer(error);
        receiver
            .set_patience(patience)
            .map_err(|error| failed(error.to_string()))?;
        loop {
            return Ok(match receiver.receive() {
                Ok(Some(FromMachine::Output(_))) => continue,
                Ok(Some(FromMachine::Event(event))) => Next::Event(event),
                Ok(None) => Next::Gone,
                Err(WireError::Io(error)) if is_silence(&error) => Next::Silence,
                // A process that dies leaves no tidy end.
                Err(WireError::Io(error)) if error.kind() == ErrorKind::ConnectionReset => {
                    Next::Gone
                }
                Err(error) => return Err(failed(error.to_string())),
            });
        }
    }

    pub(crate) fn no_answer(&self, reason: String) -> Error {
        Error::NoAnswer {
            name: self.spec.name.clone(),
            reason,
        }
    }

    pub(crate) fn not_running(&self) -> Error {
        let name = self.spec.name.clone();
        let remedy = match self.state {
            State::Suspended { .. } => format!("`clade resume {name}` lets it go on."),
            _ => format!("Start it with `clade start {name}`."),
        };
        Error::NotRunning {
            name,
            state: self.state.described(),
            remedy,
        }
    }
}

/// What a machine says next.
#[derive(Debug)]
pub(crate) enum Next {
    Event(Event),
    /// It closed the connection.
    Gone,
    /// Nothing came in time.
    Silence,
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
