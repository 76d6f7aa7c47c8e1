//! What `clade clone`, `restore` and `resume` leave to be done behind them. Not for people.

use std::process::ExitCode;

use clade_manager::Machines;

use crate::settle;

/// The hidden verb's name.
pub(crate) const NAME: &str = "settle-guests";

/// Tell guests the time and who they are, one after the other.
#[derive(Debug, clap::Args)]
pub(crate) struct SettleGuests {
    machines: Vec<String>,
}

impl SettleGuests {
    pub(crate) fn run(self) -> ExitCode {
        // A terminal's Ctrl-C is for whoever started this, and no longer there.
        let _ = rustix::process::setsid();
        let Ok(machines) = Machines::of_user() else {
            return ExitCode::FAILURE;
        };
        for name in &self.machines {
            // Nobody listens; whoever enters the guest next tries again, and hears what is wrong.
            let _ = machines.find(name).map(|machine| settle::settle(&machine));
        }
        ExitCode::SUCCESS
    }
}
