//! `clade start`

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clade_manager::{Machine, Machines, Started};
use clade_vmm::control::Connection;

use crate::failure::Failure;
use crate::stdin::Input;
use crate::verbs::run::{leave_running, session_words};
use crate::verbs::{console, machine_process, resume};
use crate::waiting::Waiting;
use crate::{session, settle, several, style};

/// Start machines again that have stopped, with all that they had.
///
/// Those that are suspended go on from where they were.
#[derive(Debug, clap::Args)]
pub(crate) struct Start {
    /// The machines: names, ids, or the beginning of either.
    #[arg(required = true, value_name = "MACHINE")]
    machines: Vec<String>,
    /// Attach to the machine's console, as `clade run` does; it ends with this command.
    #[arg(long, short)]
    attach: bool,
}

impl Start {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machines = several::find(&Machines::of_user()?, &self.machines)?;
        match machines.as_slice() {
            [machine] if self.attach => attach(machine),
            _ if self.attach => Err(Failure::new(
                "only one machine's console can be attached to\n\
                 Name one, or leave out `--attach` and use `clade console NAME`.",
            )),
            _ => several::each(&machines, &Waiting::default(), start),
        }
    }
}

/// Starts a machine and leaves it running.
pub(crate) fn start(machine: &Machine) -> Result<(), Failure> {
    if machine.state.is_suspended() {
        return resume::resume(machine);
    }
    let (started, connection) = machine.start(machine_process::command(), |spec| {
        if spec.image.is_some() {
            spec.config.cmdline = session_words(&spec.config.cmdline, true, None);
        }
    })?;
    leave_running(started, connection)
}

fn resumed(machine: &Machine) -> Result<Option<(Started, Connection)>, Failure> {
    if !machine.state.is_suspended() {
        return Ok(None);
    }
    let resumed = machine.resume(machine_process::command())?;
    settle::in_background(std::slice::from_ref(&machine.spec.name))?;
    Ok(resumed)
}

/// Starts a machine whose console is to be attached to.
fn boot(machine: &Machine, terminal: bool) -> Result<(Started, Connection), Failure> {
    let term = std::env::var("TERM").ok().filter(|_| terminal);
    let started = machine.start(machine_process::command(), |spec| {
        if spec.image.is_some() {
            spec.config.cmdline = session_words(&spec.config.cmdline, terminal, term.as_deref());
        }
    });
    Ok(started?)
}

fn attach(machine: &Machine) -> Result<ExitCode, Failure> {
    let terminal = io::stdin().is_terminal();
    let input = match (terminal, &machine.spec.image) {
        (true, _) => Input::Terminal,
        (false, Some(_)) => Input::Script,
        (false, None) => Input::Stream,
    };
    let (input, (started, connection)) = match resumed(machine)? {
        // Its shell is there already, and does not say so again.
        Some(resumed) if !terminal => (Input::Stream, resumed),
        Some(resumed) => (input, resumed),
        None => (input, boot(machine, terminal)?),
    };
    let name = &machine.spec.name;
    if terminal && io::stderr().is_terminal() {
        style::note(&format!("{name} · Ctrl-] detaches"));
    }
    let session = session::attach(connection, input, true)?;
    console::finish(name, session.end, || Failure::new(started.into_death()))
}
