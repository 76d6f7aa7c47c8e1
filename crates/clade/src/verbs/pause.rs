//! `clade pause`

use std::process::ExitCode;

use clade_manager::{Machine, Machines};

use crate::failure::Failure;
use crate::several;
use crate::waiting::Waiting;

/// Freeze machines in memory, until `clade resume`.
///
/// They stand still: no time passes for their guests, and connections to them wait. Their memory stays
/// in use; `clade suspend` writes it to disk.
#[derive(Debug, clap::Args)]
pub(crate) struct Pause {
    /// The machines: names, ids, or the beginning of either.
    #[arg(required = true, value_name = "MACHINE")]
    machines: Vec<String>,
}

impl Pause {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machines = several::find(&Machines::of_user()?, &self.machines)?;
        several::each(&machines, &Waiting::default(), pause)
    }
}

fn pause(machine: &Machine) -> Result<(), Failure> {
    machine.pause()?;
    Ok(())
}
