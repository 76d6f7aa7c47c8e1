//! `clade stop`

use std::process::ExitCode;
use std::time::Duration;

use clade_manager::{Machine, Machines, Stopped};

use crate::failure::Failure;
use crate::waiting::Waiting;
use crate::{several, style};

/// Ask machines to power off, and end those that do not.
///
/// Presses each machine's power button and waits for its guest to switch off. A guest that does not
/// within the time-out, or has no driver for the button, is ended as if its power were cut. A machine that
/// is paused goes on first; one that is suspended is told of, and left as it is.
#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    /// The machines: names, ids, or the beginning of either.
    #[arg(required = true, value_name = "MACHINE")]
    machines: Vec<String>,
    #[command(flatten)]
    grace: Grace,
}

/// How long a guest may take to power off.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Grace {
    /// Seconds that a guest may take to power off; 0 ends it at once.
    #[arg(long, short = 't', value_name = "SECONDS", default_value_t = 10)]
    timeout: u32,
}

impl Grace {
    /// Stops a machine, and tells of what is not in the nature of things.
    pub(crate) fn stop(self, machine: &Machine, waiting: &Waiting) -> Result<(), Failure> {
        let patience = Duration::from_secs(self.timeout.into());
        let name = &machine.spec.name;
        let shown = waiting.begin(&format!("stopping {name}"), Some(patience));
        let stopped = machine.stop(patience);
        waiting.end(shown);
        if stopped? == Stopped::ByForce && self.timeout > 0 {
            let text = format!(
                "the guest of '{name}' did not power off; it was ended as if its power were cut"
            );
            waiting.aside(|| style::talk(&text));
        }
        Ok(())
    }
}

impl Stop {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machines = several::find(&Machines::of_user()?, &self.machines)?;
        let waiting = Waiting::default();
        several::each(&machines, &waiting, |machine| {
            self.grace.stop(machine, &waiting)
        })
    }
}
