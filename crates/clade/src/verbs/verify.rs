//! `clade verify`

use std::path::PathBuf;
use std::process::ExitCode;

use clade_images::Progress;
use clade_manager::{Error, Machine, Machines, Snapshot, SnapshotNames, machine_of};
use clade_store::FileName;
use clade_store::digest::{FileRecord, Verifier};
use clade_store::snapshots::Unreadable;
use serde::Serialize;

use crate::failure::Failure;
use crate::progress::Shown;
use crate::snapshots::{self, Meant};
use crate::{table, warm};

/// The exit status when something is damaged.
const DAMAGED: u8 = 1;

/// Read snapshots, templates and suspended machines as a whole, and say whether they are as they were made.
///
/// Without NAME, warm images are read as well, and damaged ones dropped: the next machine of that image boots,
/// and leaves another. The exit status is 0 if all is as it was made, and 1 if anything is damaged, of which
/// each file is named.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// The snapshots, MACHINE@TAG or ids, templates and suspended machines; all if there is none.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Print JSON, with every detail.
    #[arg(long)]
    json: bool,
}

/// What is to be read.
struct Whole {
    id: String,
    name: String,
    files: Vec<(PathBuf, FileRecord)>,
    /// What is known to be wrong already.
    damage: Vec<String>,
    /// The key of what is a warm image, which goes if it is damaged.
    warm: Option<FileName>,
}

/// How it was found, as `verify --json` shows it.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    name: String,
    whole: bool,
    /// What is wrong with it.
    damage: Vec<String>,
    /// Whether it was only a warm image, and has been dropped.
    dropped: bool,
}

impl Verify {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machines = Machines::of_user()?;
        let kept = machines.snapshots()?.list().map_err(Error::from)?;
        let templates = machines.templates()?.list().map_err(Error::from)?;
        let there = machines.list()?;
        let names = SnapshotNames::of(&kept.snapshots, &there);
        let chosen = if self.names.is_empty() {
            let snapshots = kept.snapshots.iter();
            let snapshots = snapshots.map(|one| Whole::of_snapshot(one, &names));
            let suspended = there.iter().filter_map(Whole::of_machine);
            let prepared = templates.snapshots.iter().map(Whole::of_template);
            let unreadable = kept.unreadable.iter().chain(&templates.unreadable);
            let unreadable = unreadable.map(Whole::of_unreadable);
            let readable = snapshots.chain(prepared).chain(suspended);
            readable.chain(unreadable).chain(warm_images()?).collect()
        } else {
            let texts = self.names.iter();
            let found = texts.map(|text| find(&machines, &names, text));
            found.collect::<Result<Vec<_>, _>>()?
        };
        let rows = verify(chosen)?;
        if self.json {
            table::print_json(&rows)?;
        } else {
            table::print_lines(rows.iter().flat_map(Row::lines))?;
        }
        Ok(match rows.iter().all(|row| row.whole) {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(DAMAGED),
        })
    }
}

fn find(machines: &Machines, names: &SnapshotNames, text: &str) -> Result<Whole, Failure> {
    if let Some(template) = machines.template(text)? {
        return Ok(Whole::of_template(&template));
    }
    match snapshots::find(machines, text)? {
        Meant::Snapshot(snapshot) => Ok(Whole::of_snapshot(&snapshot, names)),
        Meant::Machine(machine) => Whole::of_machine(&machine).ok_or_else(|| {
            Failure::new(format!(
                "machine '{0}' is not suspended: what it has can change at any time\n\
                 `clade snapshot {0}` keeps it as it is.",
                machine.spec.name
            ))
        }),
    }
}

/// The warm images, which have no names.
fn warm_images() -> Result<Vec<Whole>, Failure> {
    let kept = warm::images()?.machines().templates()?;
    let kept = kept.list().map_err(Error::from)?;
    let readable = kept.snapshots.iter().map(|image| {
        let machine = machine_of(image).ok();
        let of = machine.and_then(|machine| machine.image);
        let name = format!("the warm image of {}", of.as_deref().unwrap_or("an image"));
        (Whole::of(image, name), &image.name)
    });
    let unreadable = kept.unreadable.iter().map(|one| {
        let mut whole = Whole::of_unreadable(one);
        "a warm image".clone_into(&mut whole.name);
        (whole, &one.name)
    });
    let all = readable.chain(unreadable).map(|(whole, key)| Whole {
        warm: Some(key.clone()),
        ..whole
    });
    Ok(all.collect())
}

impl Whole {
    fn of_snapshot(snapshot: &Snapshot, names: &SnapshotNames) -> Self {
        Self::of(snapshot, names.get(snapshot).to_owned())
    }

    fn of_template(template: &Snapshot) -> Self {
        Self::of(template, template.name.to_string())
    }

    fn of(snapshot: &Snapshot, name: String) -> Self {
        let files = snapshot.manifest.files.iter();
        Self {
            id: snapshot.manifest.id.to_string(),
            name,
            files: files
                .map(|(name, record)| (snapshot.path(name), *record))
                .collect(),
            damage: Vec::new(),
            warm: None,
        }
    }

    /// `None` if it is not suspended.
    fn of_machine(machine: &Machine) -> Option<Self> {
        let (files, damage) = match machine.suspended_files() {
            Ok(files) => (files?, Vec::new()),
            Err(error) => (Vec::new(), vec![error.to_string()]),
        };
        Some(Self {
            id: machine.spec.id.clone(),
            name: machine.spec.name.clone(),
            files,
            damage,
            warm: None,
        })
    }

    fn of_unreadable(one: &Unreadable) -> Self {
        Self {
            id: one.name.to_string(),
            name: one.name.to_string(),
            files: Vec::new(),
            damage: vec![one.reason.to_string()],
            warm: None,
        }
    }
}

/// Reads all. What is lost with nothing is dropped when it is damaged.
fn verify(chosen: Vec<Whole>) -> Result<Vec<Row>, Failure> {
    let shown = Shown::new();
    let files = chosen.iter().flat_map(|one| &one.files);
    let size: u64 = files.map(|(_, record)| record.size).sum();
    if size > 0 {
        let label = match chosen.len() {
            1 => format!("reading {}", chosen[0].name),
            number => format!("reading {number} saved states"),
        };
        shown.begin(&label, size);
    }
    let mut verifier = Verifier::default();
    let mut row = |one: Whole| {
        let mut damage = one.damage;
        for (path, record) in &one.files {
            let found = verifier.verify(record, path, &mut |bytes| shown.advance(bytes));
            damage.extend(found.err().map(|error| error.to_string()));
        }
        let dropped = one.warm.filter(|_| !damage.is_empty());
        if let Some(key) = &dropped {
            let images = warm::images()?;
            if images.get(key).is_ok_and(|image| image.is_none()) {
                // It gave way to others while it was read.
                return Ok(None);
            }
            images.remove(key)?;
        }
        Ok(Some(Row {
            id: one.id,
            name: one.name,
            whole: damage.is_empty(),
            damage,
            dropped: dropped.is_some(),
        }))
    };
    let rows = chosen.into_iter().filter_map(|one| row(one).transpose());
    let rows = rows.collect();
    shown.finish();
    rows
}

impl Row {
    fn lines(&self) -> Vec<String> {
        let word = match (self.whole, self.dropped) {
            (true, _) => "whole",
            (false, false) => "damaged",
            (false, true) => "damaged, and was dropped: the next machine of that image boots",
        };
        let mut lines = vec![format!("{} is {word}", self.name)];
        lines.extend(self.damage.iter().map(|damage| format!("  {damage}")));
        lines
    }
}
