//! `clade console`

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clade_manager::{Error, Machines};
use clade_vmm::outcome::Outcome;

use crate::failure::Failure;
use crate::session::{self, End};
use crate::stdin::Input;
use crate::style;

/// Attach to a machine's console; Ctrl-] detaches.
#[derive(Debug, clap::Args)]
pub(crate) struct Console {
    /// The machine: its name, its id, or the beginning of either.
    machine: String,
}

impl Console {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machine = Machines::of_user()?.find(&self.machine)?;
        let name = machine.spec.name.clone();
        let terminal = io::stdin().is_terminal();
        let input = if terminal {
            Input::Terminal
        } else {
            Input::Stream
        };
        if let Err(paused @ Error::Paused { .. }) = machine.check_awake() {
            // What it said before can be seen all the same.
            style::talk(&paused.to_string());
        }
        if terminal && io::stderr().is_terminal() {
            style::note(&format!("{name} · Ctrl-] detaches"));
        }
        let session = session::attach(machine.connect()?, input, false)?;
        finish(&name, session.end, || {
            Failure::new(format!(
                "the process of machine '{name}' is gone without a word\n\
                 This is a bug in Clade, or the host ended it (out of memory?)."
            ))
        })
    }
}

fn is_suspended(name: &str) -> bool {
    let machine = Machines::of_user().and_then(|machines| machines.find(name));
    machine.is_ok_and(|machine| machine.spec.name == name && machine.state.is_suspended())
}

/// What is said at the end of a session, and the exit status.
pub(crate) fn finish(
    name: &str,
    end: End,
    lost: impl FnOnce() -> Failure,
) -> Result<ExitCode, Failure> {
    match end {
        End::Ended(Outcome::Stopped) if is_suspended(name) => {
            style::talk(&format!(
                "'{name}' was suspended\n\
                 clade resume {name}   lets it go on"
            ));
            Ok(ExitCode::SUCCESS)
        }
        End::Ended(outcome) => {
            if let Some(message) = outcome.message() {
                style::talk(&message);
            }
            Ok(ExitCode::from(outcome.exit_status()))
        }
        End::Detached => {
            style::talk(&format!(
                "detached; '{name}' runs on\n\
                 clade console {name}   brings you back\n\
                 clade stop {name}      ends it"
            ));
            Ok(ExitCode::SUCCESS)
        }
        End::Signal(signal) => Ok(ExitCode::from(
            u8::try_from(128 + signal).unwrap_or(u8::MAX),
        )),
        End::OutputClosed => Err(Failure::OutputClosed),
        End::Lost => Err(lost()),
    }
}
