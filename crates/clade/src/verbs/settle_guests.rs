//! What `clade clone`, `restore` and `resume` leave to be done behind them. Not for people.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clade_manager::Machines;

use crate::settle;

/// Guests are told by whoever enters them within this time.
const HEAD_START: Duration = Duration::from_millis(30);

/// The hidden verb's name.
pub(crate) const NAME: &str = "settle-guests";

/// Tell guests the time and who they are, one after the other.
#[derive(Debug, clap::Args)]
pub(crate) struct SettleGuests {
    machines: Vec<String>,
}

impl SettleGuests {
    pub(crate) fn run(self) -> ExitCode {
        // Whoever enters a guest at once tells it on the way, and needs one connection in place of two.
        thread::sleep(HEAD_START);
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
