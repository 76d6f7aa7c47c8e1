//! `clade start`

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clade_manager::{Machine, Machines};

use crate::failure::Failure;
use crate::session;
use crate::stdin::Input;
use crate::verbs::run::{leave_running, session_words};
use crate::verbs::{console, machine_process};
use crate::waiting::Waiting;
use crate::{several, style};

/// Start machines again that have stopped, with all that they had.
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
    if machine.is_suspended() {
        let (started, connection) = machine.resume_suspended(machine_process::command())?;
        return leave_running(started, connection);
    }
    let (started, connection) = machine.start(machine_process::command(), |spec| {
        if spec.image.is_some() {
            spec.config.cmdline = session_words(&spec.config.cmdline, true, None);
        }
    })?;
    leave_running(started, connection)
}

fn attach(machine: &Machine) -> Result<ExitCode, Failure> {
    let terminal = io::stdin().is_terminal();
    let input = match (terminal, &machine.spec.image) {
        (true, _) => Input::Terminal,
        (false, Some(_)) => Input::Script,
        (false, None) => Input::Stream,
    };
    let term = std::env::var("TERM").ok().filter(|_| terminal);
    let (started, connection) = machine.start(machine_process::command(), |spec| {
        if spec.image.is_some() {
            spec.config.cmdline = session_words(&spec.config.cmdline, terminal, term.as_deref());
        }
    })?;
    let name = &machine.spec.name;
    if terminal && io::stderr().is_terminal() {
        style::note(&format!("{name} · Ctrl-] detaches"));
    }
    let session = session::attach(connection, input, true)?;
    console::finish(name, session.end, || Failure::new(started.into_death()))
}
