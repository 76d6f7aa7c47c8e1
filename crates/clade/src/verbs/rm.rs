//! `clade rm`

use std::process::ExitCode;

use clade_manager::{Error, Machines};

use crate::failure::Failure;
use crate::several;
use crate::waiting::Waiting;

/// Remove machines, with their disks and logs.
#[derive(Debug, clap::Args)]
pub(crate) struct Rm {
    /// The machines: names, ids, or the beginning of either.
    #[arg(required = true, value_name = "MACHINE")]
    machines: Vec<String>,
    /// End those that run first, as if their power were cut; and let those be that are not there.
    #[arg(long, short)]
    force: bool,
}

impl Rm {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machines = Machines::of_user()?;
        let readable = self.take_out_the_unreadable(&machines)?;
        let found = several::find(&machines, &readable)?;
        several::each(&found, &Waiting::default(), |machine| {
            if self.force {
                machine.kill()?;
            }
            machines.remove(machine)?;
            Ok(())
        })
    }

    /// Removes what this version of Clade cannot read, and returns what is left to be found.
    fn take_out_the_unreadable(&self, machines: &Machines) -> Result<Vec<String>, Failure> {
        let mut rest = Vec::new();
        for text in &self.machines {
            match machines.find(text) {
                Err(Error::Unreadable { name, .. }) => machines.remove_unreadable(&name)?,
                Err(Error::NotFound { .. }) if self.force => {}
                _ => rest.push(text.clone()),
            }
        }
        Ok(rest)
    }
}
