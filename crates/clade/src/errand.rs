//! A machine for one command: `clade run IMAGE -- COMMAND`. What its console says on the way is kept
//! out of the command's output, and shown if the command cannot be run.

use std::io;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clade_manager::{Machines, Started};
use clade_ssh::{Command, Error, Key};
use clade_vmm::control::{Connection, Event, FromMachine, Receiver, Request, Sender};
use clade_vmm::outcome::Outcome;

use crate::failure::Failure;
use crate::remote::{self, Remote};
use crate::settle;
use crate::verbs::exec::explain;

/// How often a guest that is on its way up is asked.
const ASK: Duration = Duration::from_millis(20);

/// A guest that takes no commands after this time never will.
const PATIENCE: Duration = Duration::from_secs(600);

/// A guest has this long to power off.
const GRACE: Duration = Duration::from_secs(90);

/// How much of the console is kept to be shown, in bytes.
const TAIL: usize = 8 << 10;

/// Runs `command` in a machine that has just been started, and ends the machine. Returns the
/// command's exit status.
pub(crate) fn run(
    started: Started,
    connection: Connection,
    command: Command,
    interactive: bool,
) -> Result<ExitCode, Failure> {
    let machine = Machines::of_user()?.find(&started.spec.id)?;
    let socket = machine.vsock()?;
    let Connection { sender, receiver } = connection;
    sender.request(&Request::Attach { size: None })?;
    let console = Console::listen(receiver)?;
    let mut connection = settle::settle(&machine)?;
    let key = Key::of_user()?;
    let deadline = Instant::now() + PATIENCE;
    let remote = loop {
        let connected = match connection.take() {
            Some(connection) => Ok(connection),
            None => clade_ssh::Connection::open(&socket, &key),
        };
        match connected.and_then(|connection| Remote::start(&connection, command.clone())) {
            Ok(remote) => break remote,
            Err(Error::NotReady | Error::NoSocket(_)) if !console.is_over() => {}
            Err(error) => return Err(console.failure(error, &started.spec.name)),
        }
        if Instant::now() > deadline {
            return Err(console.failure(Error::NotReady, &started.spec.name));
        }
        thread::sleep(ASK);
    };
    let exit = remote.serve(interactive);
    if started.spec.temporary {
        console.end(&sender);
    } else {
        // What the command wrote is to be there at the next start.
        machine.stop(GRACE)?;
    }
    Ok(ExitCode::from(remote::status(&exit?)?))
}

/// The machine's console, to which nobody listens but this.
struct Console {
    heard: Arc<Mutex<Heard>>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Heard {
    tail: Vec<u8>,
    outcome: Option<Outcome>,
    over: bool,
}

impl Console {
    fn listen(receiver: Receiver) -> io::Result<Self> {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let ours = Arc::clone(&heard);
        let thread = thread::Builder::new()
            .name("console".into())
            .spawn(move || listen(receiver, &ours))?;
        Ok(Self { heard, thread })
    }

    fn is_over(&self) -> bool {
        lock(&self.heard).over
    }

    /// Ends the machine, and waits until it has.
    fn end(self, sender: &Sender) {
        // If it is gone, it needs no end.
        let _ = sender.request(&Request::Stop);
        let _ = self.thread.join();
    }

    fn failure(&self, error: Error, name: &str) -> Failure {
        let heard = lock(&self.heard);
        let said = String::from_utf8_lossy(&heard.tail);
        let said = match said.trim() {
            "" => "Its console said nothing.".to_owned(),
            said => format!("Its console said last:\n{said}"),
        };
        match &heard.outcome {
            Some(outcome) => Failure::new(format!(
                "the machine ended before it could run the command; {}\n{said}",
                outcome
                    .message()
                    .unwrap_or_else(|| "its guest switched itself off".to_owned())
            )),
            None => explain(error, name).and(&said),
        }
    }
}

fn listen(mut receiver: Receiver, heard: &Mutex<Heard>) {
    loop {
        let frame = receiver.receive();
        let mut heard = lock(heard);
        match frame {
            Ok(Some(FromMachine::Output(bytes))) => {
                heard.tail.extend(bytes);
                let excess = heard.tail.len().saturating_sub(TAIL);
                heard.tail.drain(..excess);
            }
            Ok(Some(FromMachine::Event(Event::Ended(outcome)))) => heard.outcome = Some(outcome),
            Ok(Some(FromMachine::Event(_))) => {}
            Ok(None) | Err(_) => {
                heard.over = true;
                return;
            }
        }
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}
