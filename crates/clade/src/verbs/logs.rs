//! `clade logs`

use std::io::{self, Write};
use std::process::ExitCode;

use clade_manager::Machines;

use crate::failure::Failure;

/// Print what a machine wrote on its console so far.
#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    /// The machine: its name, its id, or the beginning of either.
    machine: String,
}

impl Logs {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let log = Machines::of_user()?.find(&self.machine)?.console_log()?;
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(&log).and_then(|()| stdout.flush());
        written.map_err(|error| Failure::of_output(&error))?;
        Ok(ExitCode::SUCCESS)
    }
}
