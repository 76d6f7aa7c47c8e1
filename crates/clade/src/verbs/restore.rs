//! `clade restore`

use std::io::{self, Write};
use std::process::ExitCode;

use clade_manager::{CloneOrder, Machines};

use crate::failure::Failure;
use crate::settle;
use crate::snapshots::Meant;
use crate::verbs::machine_process;
use crate::verbs::run::leave_running;

/// Make a machine what it was at a snapshot, or a new machine of it.
///
/// What the machine has been since is gone, unless another snapshot has it. It runs on from that instant;
/// one whose disks alone were kept is left stopped.
#[derive(Debug, clap::Args)]
pub(crate) struct Restore {
    /// The snapshot: MACHINE@TAG, its id, or the beginning of that.
    snapshot: String,
    /// Leave the machine alone, and make a new one with this name.
    #[arg(long = "as", value_name = "NAME")]
    new: Option<String>,
    /// Let the new machine's guest keep the host name, machine ID, Ethernet address and SSH host keys that it has.
    #[arg(long, requires = "new")]
    keep_identity: bool,
}

impl Restore {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machines = Machines::of_user()?;
        let snapshot = machines.find_snapshot(&self.snapshot)?;
        if let Some(name) = self.new {
            let order = CloneOrder {
                names: vec![Some(name)],
                keep_identity: self.keep_identity,
                ..CloneOrder::default()
            };
            let source = Meant::Snapshot(Box::new(snapshot));
            return super::clone::make(&machines, &source, &order);
        }
        let origin = &snapshot.manifest.details.origin;
        let machine = machines.find(&origin.id).map_err(|_| {
            Failure::new(format!(
                "the machine '{0}' of snapshot {1} is gone\n\
                 `clade restore {1} --as {0}` makes a new one.",
                origin.name, self.snapshot
            ))
        })?;
        if machine.spec.temporary {
            return Err(Failure::new(format!(
                "machine '{0}' is removed when it ends, so it cannot go back to what it was\n\
                 `clade restore {1} --as NAME` makes a new one.",
                machine.spec.name, self.snapshot
            )));
        }
        if let Some((started, connection)) =
            machine.restore(&snapshot, machine_process::command())?
        {
            leave_running(started, connection)?;
            settle::in_background(std::slice::from_ref(&machine.spec.name))?;
        }
        writeln!(io::stdout(), "{}", machine.spec.name)
            .map_err(|error| Failure::of_output(&error))?;
        Ok(ExitCode::SUCCESS)
    }
}
