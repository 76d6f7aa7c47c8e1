//! `clade resume`

use std::process::ExitCode;

use clade_manager::{Machine, Machines};

use crate::failure::Failure;
use crate::several;
use crate::waiting::Waiting;

/// Let machines go on that were paused.
#[derive(Debug, clap::Args)]
pub(crate) struct Resume {
    /// The machines: names, ids, or the beginning of either.
    #[arg(required = true, value_name = "MACHINE")]
    machines: Vec<String>,
}

impl Resume {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machines = several::find(&Machines::of_user()?, &self.machines)?;
        several::each(&machines, &Waiting::default(), resume)
    }
}

fn resume(machine: &Machine) -> Result<(), Failure> {
    machine.resume()?;
    Ok(())
}
