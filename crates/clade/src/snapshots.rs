//! What is said of snapshots, and how they are told from machines.

use clade_manager::{Error, Machine, Machines, Snapshot};
use clade_store::FileName;
use clade_store::snapshots::{Origin, Unreadable};
use serde::Serialize;

use crate::style;

/// What a text means: a machine, or else a snapshot.
pub(crate) enum Meant {
    Machine(Box<Machine>),
    Snapshot(Box<Snapshot>),
}

/// What is meant by a machine's name or id, by `MACHINE@TAG`, by a snapshot's id, or by the beginning of an
/// id.
pub(crate) fn find(machines: &Machines, text: &str) -> Result<Meant, Error> {
    if is_of_machine(text) {
        return Ok(Meant::Snapshot(Box::new(machines.find_snapshot(text)?)));
    }
    let not_found = match machines.find(text) {
        Ok(machine) => return Ok(Meant::Machine(Box::new(machine))),
        Err(error) => error,
    };
    match machines.find_snapshot(text) {
        Ok(snapshot) => Ok(Meant::Snapshot(Box::new(snapshot))),
        // It is there, and damaged.
        Err(error @ Error::Store(clade_store::Error::Content { .. })) => Err(error),
        Err(_) => Err(not_found),
    }
}

/// Whether this is `MACHINE@TAG`: neither a machine nor a template has such a name, and none need be looked at.
pub(crate) fn is_of_machine(text: &str) -> bool {
    text.contains('@')
}

/// A snapshot as JSON shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Summary<'a> {
    id: &'a FileName,
    /// By this it is found.
    pub(crate) name: &'a str,
    tag: Option<&'a str>,
    /// The machine that it is a state of, as it was called then.
    machine: &'a Origin,
    /// The id of the snapshot that the machine had last been the same as.
    parent: Option<&'a FileName>,
    /// In seconds since 1970-01-01 UTC.
    pub(crate) created: u64,
    /// Bytes of memory that the guest has; none if the snapshot is of disks alone.
    pub(crate) memory: Option<u64>,
    /// Bytes on disk that are freed with it; none if they cannot be told.
    pub(crate) own: Option<u64>,
    /// Bytes on disk that others have as well.
    pub(crate) shared: Option<u64>,
    pub(crate) pause_ns: u64,
}

impl<'a> Summary<'a> {
    pub(crate) fn of(snapshot: &'a Snapshot, name: &'a str) -> Self {
        let manifest = &snapshot.manifest;
        let details = &manifest.details;
        let size = snapshot.size().ok();
        Self {
            id: &manifest.id,
            name,
            tag: details.name.as_deref(),
            machine: &details.origin,
            parent: details.parent.as_ref(),
            created: manifest.created,
            memory: details.memory_bytes,
            own: size.map(|size| size.own),
            shared: size.map(|size| size.shared),
            pause_ns: details.pause_ns,
        }
    }

    pub(crate) fn id(&self) -> String {
        self.id.to_string()
    }
}

/// How long a machine stood still: `3.1 ms`; none if it did not run.
pub(crate) fn pause(nanoseconds: u64) -> Option<String> {
    (nanoseconds > 0).then(|| format!("{:.1} ms", nanoseconds as f64 / 1e6))
}

/// `1 snapshot`, `2 snapshots`.
pub(crate) fn count(number: usize) -> String {
    match number {
        1 => "1 snapshot".to_owned(),
        _ => format!("{number} snapshots"),
    }
}

/// Tells of folders that are no snapshots that can be used.
pub(crate) fn tell_of_unreadable(unreadable: &[Unreadable]) {
    for Unreadable { name, reason } in unreadable {
        style::talk(&format!(
            "snapshot {name} cannot be used: {reason}\n\
             `clade snapshot rm {name}` removes it."
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_shown_in_milliseconds() {
        assert_eq!(pause(3_149_000).as_deref(), Some("3.1 ms"));
        assert_eq!(pause(0), None);
    }
}
