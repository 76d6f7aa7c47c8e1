//! A machine for one command: `clade run IMAGE -- COMMAND`, or for a shell of the user's own. What its
//! console says on the way is kept out of the command's output, and shown if the command cannot be run.

mod console;

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clade_guest::{Command, Error, Exit, Key};
use clade_manager::{Machine, Machines, Started};
use clade_vmm::control::{Connection, Request, Sender};

use crate::failure::Failure;
use crate::remote::{self, Remote};
use crate::session::End;
use crate::verbs;
use crate::{settle, style};

pub(crate) use console::Console;

/// How often a guest that is on its way up is asked.
const ASK: Duration = Duration::from_millis(20);

/// A guest that takes no commands after this time never will.
const PATIENCE: Duration = Duration::from_secs(600);

/// A guest has this long to power off.
const GRACE: Duration = Duration::from_secs(90);

/// A guest that went away without a word is perhaps about to switch off.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// What a machine is for.
#[derive(Debug, Clone)]
pub(crate) struct Errand {
    pub(crate) command: Command,
    /// Whether it reads standard input.
    pub(crate) reads: bool,
    /// Whether it is a shell at the user's terminal: Ctrl-] leaves the machine running, and the shell's
    /// end is an ordinary one, whatever its status.
    pub(crate) is_shell: bool,
}

impl Errand {
    /// A command, which is no shell of the user's own.
    pub(crate) fn command(command: Command, reads: bool) -> Self {
        Self {
            command,
            reads,
            is_shell: false,
        }
    }
}

/// Does it in a machine that has just been started, and ends the machine. Returns the command's exit
/// status. Who has been in its guest already gives the connection that leads there.
pub(crate) fn run(
    started: Started,
    connection: Connection,
    errand: Errand,
    entered: Option<clade_guest::Connection>,
) -> Result<ExitCode, Failure> {
    let machine = Machines::of_user()?.find(&started.spec.id)?;
    let socket = machine.vsock()?;
    let Connection { sender, receiver } = connection;
    sender.request(&Request::Attach { size: None })?;
    let console = Console::listen(receiver)?;
    let mut connection = settle::settle(&machine)?.or(entered);
    let key = Key::of_user()?;
    let deadline = Instant::now() + PATIENCE;
    let remote = loop {
        let connected = match connection.take() {
            Some(connection) => Ok(connection),
            None => clade_guest::Connection::open(&socket, &key),
        };
        match connected.and_then(|connection| Remote::start(connection, errand.command.clone())) {
            Ok(remote) => break remote,
            Err(Error::NotReady | Error::NoSocket(_)) if !console.is_over() => {}
            Err(error) => return Err(console.failure(error, &started.spec.name)),
        }
        if Instant::now() > deadline {
            return Err(console.failure(Error::NotReady, &started.spec.name));
        }
        thread::sleep(ASK);
    };
    if errand.is_shell {
        return serve_shell(remote, &machine, console, &sender);
    }
    let exit = remote.serve(errand.reads);
    end(&machine, console, &sender)?;
    Ok(ExitCode::from(remote::status(&exit?)?))
}

/// A shell of the user's own, which ends as a console does.
fn serve_shell(
    remote: Remote,
    machine: &Machine,
    shown: Console,
    sender: &Sender,
) -> Result<ExitCode, Failure> {
    let name = &machine.spec.name;
    let finish = |outcome| verbs::console::finish(name, End::Ended(outcome), remote::gone);
    let exit = match remote.serve_shell() {
        Ok(None) => return shown.leave(sender).map_or_else(|| Ok(left(name)), finish),
        Ok(Some(exit)) => Ok(exit),
        Err(failure) => Err(failure),
    };
    let outcome = match &exit {
        Ok(Exit::Status(_)) => None,
        // The guest's end ends shells by signals, too.
        _ => shown.outcome_within(LAST_WORDS),
    };
    end(machine, shown, sender)?;
    match outcome {
        Some(outcome) => finish(outcome),
        None => remote::status(&exit?).map(|_| ExitCode::SUCCESS),
    }
}

fn left(name: &str) -> ExitCode {
    style::talk(&format!(
        "left; '{name}' runs on\n\
         clade exec -it {name} -- sh   opens another shell in it\n\
         clade stop {name}             ends it"
    ));
    ExitCode::SUCCESS
}

fn end(machine: &Machine, console: Console, sender: &Sender) -> Result<(), Failure> {
    if machine.spec.temporary {
        console.end(sender);
    } else {
        // What the command wrote is to be there at the next start.
        machine.stop(GRACE)?;
    }
    Ok(())
}
