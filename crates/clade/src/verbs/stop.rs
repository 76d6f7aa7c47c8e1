//! `clade stop`

use std::io::{self, Write};
use std::process::ExitCode;

use clade_manager::Machines;

use crate::failure::Failure;

/// Stop machines at once, as if their power were cut.
#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    /// The machines: names, ids, or the beginning of either.
    #[arg(required = true)]
    machines: Vec<String>,
}

impl Stop {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machines = Machines::of_user()?;
        for text in &self.machines {
            let machine = machines.find(text)?;
            machine.stop()?;
            writeln!(io::stdout(), "{}", machine.spec.name)
                .map_err(|error| Failure::of_output(&error))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
