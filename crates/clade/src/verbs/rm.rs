//! `clade rm`

use std::process::ExitCode;

use clade_manager::{Error, Machine, Machines, Snapshot, SnapshotNames};

use crate::failure::Failure;
use crate::waiting::Waiting;
use crate::{several, snapshots, style};

/// Remove machines, with their disks and logs.
///
/// Their snapshots stay; `clade snapshot rm` removes those.
#[derive(Debug, clap::Args)]
pub(crate) struct Rm {
    /// The machines: names, ids, or the beginning of either.
    #[arg(required = true, value_name = "MACHINE")]
    machines: Vec<String>,
    /// End those that run first, as if their power were cut; and let those be that are not there.
    #[arg(long, short)]
    force: bool,
}

/// What stays when machines go.
struct Kept {
    snapshots: Vec<Snapshot>,
    names: SnapshotNames,
}

impl Kept {
    fn of(machines: &Machines) -> Result<Self, Failure> {
        let snapshots = machines.snapshots()?.list().map_err(Error::from)?.snapshots;
        let names = SnapshotNames::of(&snapshots, &machines.list()?);
        Ok(Self { snapshots, names })
    }

    /// In one line, which snapshots of a machine that is gone there are.
    fn told_of(&self, machine: &Machine) -> Option<String> {
        let of_machine = |one: &&Snapshot| one.manifest.details.origin.id == machine.spec.id;
        let left: Vec<_> = self.snapshots.iter().filter(of_machine).collect();
        let [first, .., last] = &left[..] else {
            let name = self.names.get(left.first()?);
            return Some(format!(
                "snapshot {name} stays; `clade snapshot rm {name}` removes it"
            ));
        };
        let (first, last) = (self.names.get(first), self.names.get(last));
        Some(format!(
            "{} stay, from {first} to {last}; `clade snapshot ls {}` lists them, `clade snapshot rm` \
             removes them",
            snapshots::count(left.len()),
            machine.spec.name
        ))
    }
}

impl Rm {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machines = Machines::of_user()?;
        let readable = self.take_out_the_unreadable(&machines)?;
        let found = several::find(&machines, &readable)?;
        let kept = Kept::of(&machines)?;
        let waiting = Waiting::default();
        several::each(&found, &waiting, |machine| {
            if self.force {
                machine.kill()?;
            }
            machines.remove(machine)?;
            if let Some(text) = kept.told_of(machine) {
                waiting.aside(|| style::talk(&text));
            }
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
