//! Finding snapshots by what people call them.

use clade_store::snapshots::{Snapshot, Snapshots};

use crate::{Error, Machines};

impl Machines {
    /// The snapshots of this user's machines.
    ///
    /// # Errors
    /// When their folder cannot be made, or is not this user's alone.
    pub fn snapshots(&self) -> Result<Snapshots, Error> {
        let data = self.folder().parent().unwrap_or(self.folder());
        Ok(Snapshots::in_folder(data.join("snapshots"))?)
    }

    /// The snapshot that is meant by `MACHINE@TAG` (the latest, if there are several), by its id or by
    /// the beginning of that.
    ///
    /// # Errors
    /// When there is none, or several could be meant.
    pub fn find_snapshot(&self, text: &str) -> Result<Snapshot, Error> {
        let snapshots = self.snapshots()?;
        let Some((machine, tag)) = text.split_once('@') else {
            return Ok(snapshots.find(text)?);
        };
        let all = snapshots.list()?.snapshots;
        // One that was renamed is known by its name of today, too.
        let id = self.find(machine).ok().map(|found| found.spec.id);
        let is_meant = |one: &&Snapshot| {
            let details = &one.manifest.details;
            let of_machine = Some(&details.origin.id) == id.as_ref()
                || id.is_none() && details.origin.name == machine;
            of_machine && details.name.as_deref() == Some(tag)
        };
        all.iter().rfind(is_meant).cloned().ok_or_else(|| {
            let tags = all.iter().filter_map(|one| {
                let details = &one.manifest.details;
                let of_machine =
                    Some(&details.origin.id) == id.as_ref() || details.origin.name == machine;
                details.name.clone().filter(|_| of_machine)
            });
            Error::NoSnapshot {
                text: text.to_owned(),
                machine: machine.to_owned(),
                tags: tags.collect(),
            }
        })
    }
}
