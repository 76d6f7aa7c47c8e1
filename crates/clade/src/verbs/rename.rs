//! `clade rename`

use std::process::ExitCode;

use clade_manager::Machines;

use crate::failure::Failure;

/// Give a machine that does not run another name.
#[derive(Debug, clap::Args)]
pub(crate) struct Rename {
    /// The machine: its name, its id, or the beginning of either.
    machine: String,
    /// Its name from now on.
    name: String,
}

impl Rename {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machines = Machines::of_user()?;
        machines.rename(&machines.find(&self.machine)?, &self.name)?;
        Ok(ExitCode::SUCCESS)
    }
}
