//! `clade tree`

use std::collections::BTreeSet;
use std::process::ExitCode;

use clade_manager::{Machine, Machines, Size, Snapshot, SnapshotNames, State};
use clade_vmm::control::Status;
use clade_vmm::record;
use clade_vmm::spec::{MachineSpec, OriginSpec};
use serde::Serialize;

use crate::failure::Failure;
use crate::snapshots::Meant;
use crate::tree::{self, Node, Place};
use crate::{size, snapshots, state, style, table};

/// Draw which machines, snapshots and templates came from which.
///
/// A machine hangs at the snapshot or template that it came from or last was the same as. OWN is the room on disk that
/// is freed with each, SHARED what others have as well; PAUSE is how long the machine stood still.
#[derive(Debug, clap::Args)]
pub(crate) struct Tree {
    /// Only the tree that has this machine or snapshot in it: a name, MACHINE@TAG, an id, or the
    /// beginning of an id.
    name: Option<String>,
    /// Print JSON, with every detail.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Machine,
    Snapshot,
    Template,
}

/// A machine, snapshot or template as `tree --json` shows it.
#[derive(Debug, Serialize)]
struct Entry {
    kind: Kind,
    id: String,
    /// By this it is found.
    name: String,
    tag: Option<String>,
    /// The id of the machine that a snapshot is a state of.
    machine: Option<String>,
    /// The id of that at which it hangs.
    parent: Option<String>,
    /// Whether what it came from was removed.
    parent_removed: bool,
    /// In seconds since 1970-01-01 UTC.
    created: u64,
    /// Bytes on disk that are freed with it; none if they cannot be told.
    own: Option<u64>,
    /// Bytes on disk that others have as well.
    shared: Option<u64>,
    /// Bytes of memory that the guest has, if they are in the snapshot.
    memory: Option<u64>,
    pause_ns: Option<u64>,
    #[serde(flatten)]
    state: Option<State>,
    paused: Option<bool>,
    #[serde(skip)]
    status: Option<Status>,
    #[serde(skip)]
    node: Node,
}

impl Tree {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machines = Machines::of_user()?;
        let survey = machines.survey()?;
        let kept = machines.snapshots()?.list();
        let kept = kept.map_err(clade_manager::Error::from)?;
        let names = SnapshotNames::of(&kept.snapshots, &survey.machines);
        let of_snapshot = |one| Entry::of_snapshot(one, names.get(one));
        let mut entries: Vec<_> = kept.snapshots.iter().map(of_snapshot).collect();
        let templates = machines.templates()?.list();
        let templates = templates.map_err(clade_manager::Error::from)?.snapshots;
        entries.extend(templates.iter().map(Entry::of_template));
        entries.extend(survey.machines.iter().map(Entry::of_machine));

        let nodes: Vec<Node> = entries.iter().map(|entry| entry.node.clone()).collect();
        let pens = match style::knows_boxes() {
            true => tree::BOXES,
            false => tree::ASCII,
        };
        let mut places = tree::arrange(&nodes, pens);
        if let Some(name) = &self.name {
            places = trees_of(&wanted(&machines, name)?, &entries, &places);
        }
        name_parents(&mut entries, &places);
        if self.json {
            let rows: Vec<_> = places.iter().map(|place| &entries[place.node]).collect();
            table::print_json(&rows)?;
        } else {
            let now = record::now();
            let cells = |place: &Place| entries[place.node].cells(&place.lines, now);
            let rows: Vec<_> = places.iter().map(cells).collect();
            let heading = ["NAME", "OWN", "SHARED", "PAUSE", "AGE", "STATUS"];
            table::print(heading, &rows)?;
        }
        snapshots::tell_of_unreadable(&kept.unreadable);
        Ok(ExitCode::SUCCESS)
    }
}

/// The ids of the machine or snapshot that is meant, or of the snapshots of one that is gone.
fn wanted(machines: &Machines, text: &str) -> Result<BTreeSet<String>, Failure> {
    let not_found = match snapshots::find(machines, text) {
        Ok(Meant::Machine(machine)) => return Ok(BTreeSet::from([machine.spec.id])),
        Ok(Meant::Snapshot(snapshot)) => {
            return Ok(BTreeSet::from([snapshot.manifest.id.to_string()]));
        }
        Err(error) => error,
    };
    let left = machines.snapshots_of(text)?;
    if left.is_empty() {
        return Err(not_found.into());
    }
    let ids = left.iter().map(|one| one.manifest.id.to_string());
    Ok(ids.collect())
}

/// Of all trees, those that have one of these in them.
fn trees_of(ids: &BTreeSet<String>, entries: &[Entry], places: &[Place]) -> Vec<Place> {
    let mut found: Vec<Place> = Vec::new();
    for place in places {
        let is_wanted = ids.contains(&entries[place.node].id);
        if is_wanted && !found.contains(place) {
            found.extend(tree::tree_of(place.node, places));
        }
    }
    found
}

fn name_parents(entries: &mut [Entry], places: &[Place]) {
    for place in places {
        let parent = place.parent.map(|parent| entries[parent].id.clone());
        entries[place.node].parent = parent;
    }
    let ids: BTreeSet<String> = entries.iter().map(|entry| entry.id.clone()).collect();
    for entry in entries {
        let came_from = entry.node.parent.as_ref();
        entry.parent_removed = came_from.is_some_and(|id| !ids.contains(id));
    }
}

/// A name such that `web-2` comes before `web-10`.
fn by_number(name: &str) -> String {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    format!("{stem}\0{:0>20}", &name[stem.len()..])
}

impl Entry {
    fn of_snapshot(snapshot: &Snapshot, name: &str) -> Self {
        let manifest = &snapshot.manifest;
        let details = &manifest.details;
        // What the machine came from, if that was no snapshot, its configuration knows.
        let spec: Option<MachineSpec> = serde_json::from_value(details.config.clone()).ok();
        let from = spec.and_then(|spec| spec.origin).map(|from| from.machine);
        let from = from.filter(|machine| *machine != details.origin.id);
        let parent = details.parent.as_ref().map(ToString::to_string);
        // The first of all hangs at nothing, its machine hangs at it.
        let machine = details.parent.is_some().then(|| details.origin.id.clone());
        let size = snapshot.size().ok();
        Self {
            kind: Kind::Snapshot,
            id: manifest.id.to_string(),
            name: name.to_owned(),
            tag: details.name.clone(),
            machine: Some(details.origin.id.clone()),
            memory: details.memory_bytes,
            pause_ns: Some(details.pause_ns),
            node: Node {
                id: manifest.id.to_string(),
                parent: parent.or(from.clone()),
                others: from.into_iter().chain(machine).collect(),
                order: (manifest.created_ns(), manifest.id.to_string()),
            },
            ..Self::new(manifest.created, size)
        }
    }

    fn of_template(template: &Snapshot) -> Self {
        Self {
            kind: Kind::Template,
            tag: None,
            ..Self::of_snapshot(template, template.name.as_str())
        }
    }

    fn of_machine(machine: &Machine) -> Self {
        let spec = &machine.spec;
        let running = matches!(machine.state, State::Running { .. });
        let status = running.then(|| machine.status().ok()).flatten();
        let from = spec.origin.clone().map(|from| {
            let OriginSpec { snapshot, machine } = from;
            (snapshot.unwrap_or_else(|| machine.clone()), machine)
        });
        let (parent, other) = from.unzip();
        Self {
            kind: Kind::Machine,
            id: spec.id.clone(),
            name: spec.name.clone(),
            state: Some(machine.state.clone()),
            paused: status.as_ref().map(|status| status.paused),
            status,
            node: Node {
                id: spec.id.clone(),
                parent,
                others: other.into_iter().collect(),
                // Behind the snapshots that were taken where it is.
                order: (u64::MAX, by_number(&spec.name)),
            },
            ..Self::new(spec.created, machine.size().ok())
        }
    }

    fn new(created: u64, size: Option<Size>) -> Self {
        Self {
            kind: Kind::Machine,
            id: String::new(),
            name: String::new(),
            tag: None,
            machine: None,
            parent: None,
            parent_removed: false,
            created,
            own: size.map(|size| size.own),
            shared: size.map(|size| size.shared),
            memory: None,
            pause_ns: None,
            state: None,
            paused: None,
            status: None,
            node: Node::default(),
        }
    }

    fn cells(&self, lines: &str, now: u64) -> [String; 6] {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        [
            format!("{lines}{}", self.name),
            or_dash(self.own.map(size::show)),
            or_dash(self.shared.map(size::show)),
            or_dash(self.pause_ns.and_then(snapshots::pause)),
            state::duration(now.saturating_sub(self.created)),
            self.words(now),
        ]
    }

    fn words(&self, now: u64) -> String {
        let words = match &self.state {
            None if self.kind == Kind::Template => "template".to_owned(),
            Some(state) => state::observed(state, self.status.as_ref(), now),
            None if self.memory.is_none() => "snapshot of disks".to_owned(),
            None => "snapshot".to_owned(),
        };
        match self.parent_removed {
            true => format!("{words}; what it came from was removed"),
            false => words,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_sorted_by_number() {
        let mut names = ["web-10", "web", "web-2", "a1", "7"];
        names.sort_by_key(|name| by_number(name));
        assert_eq!(names, ["7", "a1", "web", "web-2", "web-10"]);
    }
}
