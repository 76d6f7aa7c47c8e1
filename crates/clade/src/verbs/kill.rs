//! `clade kill`

use std::process::ExitCode;

use clade_manager::{Machine, Machines};

use crate::failure::Failure;
use crate::several;
use crate::waiting::Waiting;

/// End machines at once, as if their power were cut.
///
/// Those that are suspended lose their memory, and boot when they next start.
#[derive(Debug, clap::Args)]
pub(crate) struct Kill {
    /// The machines: names, ids, or the beginning of either.
    #[arg(required = true, value_name = "MACHINE")]
    machines: Vec<String>,
}

impl Kill {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machines = several::find(&Machines::of_user()?, &self.machines)?;
        several::each(&machines, &Waiting::default(), kill)
    }
}

fn kill(machine: &Machine) -> Result<(), Failure> {
    machine.kill()?;
    Ok(())
}
