//! `clade update`

use std::process::ExitCode;

use clade_manager::Machines;

use crate::failure::Failure;
use crate::waiting::Waiting;
use crate::{several, size};

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
        let machines = several::find(&Machines::of_user()?, &self.machines)?;
        several::each(&machines, &Waiting::default(), |machine| {
            machine.limit_memory(self.memory)?;
            Ok(())
        })
    }
}
