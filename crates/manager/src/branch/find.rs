//! What people call snapshots, and finding them by it.

use std::collections::{BTreeMap, BTreeSet};

use clade_store::FileName;
use clade_store::snapshots::{Snapshot, Snapshots};

use crate::{Error, Machine, Machines};

/// What snapshots are called: `MACHINE@TAG`, or `MACHINE@ID` for one without a tag and for one whose
/// tag the machine has given again since, or the id alone where the machine is gone and another has its
/// name. By each of these [`Machines::find_snapshot`] finds it.
#[derive(Debug, Clone, Default)]
pub struct SnapshotNames(BTreeMap<FileName, String>);

impl SnapshotNames {
    /// Of all snapshots, oldest first, and all machines.
    pub fn of(snapshots: &[Snapshot], machines: &[Machine]) -> Self {
        let mut names = Self::default();
        let mut latest = BTreeMap::new();
        for snapshot in snapshots {
            let id = &snapshot.manifest.id;
            let Some(machine) = machine_name(snapshot, machines) else {
                names.0.insert(id.clone(), id.to_string());
                continue;
            };
            let by_id = format!("{machine}@{id}");
            let name = match &snapshot.manifest.details.name {
                Some(tag) => format!("{machine}@{tag}"),
                None => by_id.clone(),
            };
            if let Some((before, by_id)) = latest.insert(name.clone(), (id, by_id)) {
                names.0.insert(before.clone(), by_id);
            }
            names.0.insert(id.clone(), name);
        }
        names
    }

    /// What the snapshot is called.
    pub fn get<'a>(&'a self, snapshot: &'a Snapshot) -> &'a str {
        let id = &snapshot.manifest.id;
        self.0.get(id).map_or(id.as_str(), String::as_str)
    }
}

/// What the machine of a snapshot is called; `None` if it is gone and another is called so.
fn machine_name<'a>(snapshot: &'a Snapshot, machines: &'a [Machine]) -> Option<&'a str> {
    let origin = &snapshot.manifest.details.origin;
    let now = machines.iter().find(|one| one.spec.id == origin.id);
    let taken = || machines.iter().any(|one| one.spec.name == origin.name);
    match now {
        Some(machine) => Some(&machine.spec.name),
        None if taken() => None,
        None => Some(&origin.name),
    }
}

impl Machines {
    /// The snapshots of this user's machines.
    ///
    /// # Errors
    /// When their folder cannot be made, or is not this user's alone.
    pub fn snapshots(&self) -> Result<Snapshots, Error> {
        self.kept_in("snapshots")
    }

    /// What is kept in this folder beside the machines'.
    pub(super) fn kept_in(&self, name: &str) -> Result<Snapshots, Error> {
        let data = self.folder().parent().unwrap_or(self.folder());
        Ok(Snapshots::in_folder(data.join(name))?)
    }

    /// The snapshots, oldest first, of the machine that is meant by this text, or was while it was there.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn snapshots_of(&self, machine: &str) -> Result<Vec<Snapshot>, Error> {
        let mut all = self.snapshots()?.list()?.snapshots;
        let was_called_so = |one: &Snapshot| {
            let origin = &one.manifest.details.origin;
            origin.name == machine || origin.id == machine
        };
        let found = self.find(machine).ok().map(|found| found.spec);
        match found {
            // A machine that is gone may have had a name with which that of another begins.
            Some(spec) if spec.name == machine || !all.iter().any(was_called_so) => {
                all.retain(|one| one.manifest.details.origin.id == spec.id);
            }
            _ => all.retain(was_called_so),
        }
        Ok(all)
    }

    /// The snapshot that is meant by `MACHINE@TAG` (the latest, if there are several), `MACHINE@ID`, its
    /// id or the beginning of that.
    ///
    /// # Errors
    /// When there is none, or several could be meant.
    pub fn find_snapshot(&self, text: &str) -> Result<Snapshot, Error> {
        let Some((machine, tag)) = text.split_once('@') else {
            return match self.snapshots()?.find(text) {
                Err(clade_store::Error::NoSnapshot { .. }) => Err(self.no_snapshot(text)),
                found => Ok(found?),
            };
        };
        let mut of_machine = self.snapshots_of(machine)?;
        let is_meant = |one: &Snapshot| {
            let manifest = &one.manifest;
            manifest.details.name.as_deref() == Some(tag) || manifest.id.as_str() == tag
        };
        match of_machine.iter().rposition(is_meant) {
            Some(at) => Ok(of_machine.swap_remove(at)),
            None => Err(Error::NoSnapshot {
                text: text.to_owned(),
                machine: machine.to_owned(),
                tags: tags_of(of_machine),
            }),
        }
    }

    /// What is meant may be one of a machine.
    fn no_snapshot(&self, text: &str) -> Error {
        match self.snapshots_of(text) {
            Ok(of_machine) if !of_machine.is_empty() => Error::NoSnapshot {
                text: text.to_owned(),
                machine: text.to_owned(),
                tags: tags_of(of_machine),
            },
            _ => Error::Branch(format!(
                "there is no snapshot '{text}'\n`clade snapshot ls` lists those that there are."
            )),
        }
    }
}

fn tags_of(snapshots: Vec<Snapshot>) -> Vec<String> {
    let tags = snapshots.into_iter();
    let tags = tags.filter_map(|one| one.manifest.details.name);
    tags.collect::<BTreeSet<_>>().into_iter().collect()
}
