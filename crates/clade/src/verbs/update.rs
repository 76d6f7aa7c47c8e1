//! `clade update`

use std::process::ExitCode;

use clade_manager::Machines;

use crate::failure::Failure;
use crate::size;

/// Change what running machines may use.
///
/// Memory that a guest has freed goes back to the host by itself, after some seconds. With --memory, a
/// guest also gives up what it only caches, until it next starts; the machine's own size is the most
/// that it can have again.
#[derive(Debug, clap::Args)]
pub(crate) struct Update {
    /// The machines: their names, their ids, or the beginning of either.
    #[arg(required = true, value_name = "MACHINE")]
    machines: Vec<String>,
    /// So much of its memory the guest is to make do with.
    #[arg(long, short = 'm', value_name = "SIZE", value_parser = size::parse)]
    memory: u64,
}

impl Update {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machines = Machines::of_user()?;
        for machine in crate::several::find(&machines, &self.machines)? {
            machine.limit_memory(self.memory)?;
            println!("{}", machine.spec.name);
        }
        Ok(ExitCode::SUCCESS)
    }
}
