//! `clade verify`

use std::process::ExitCode;

use clade_images::Progress;
use clade_manager::{Machines, Snapshot, SnapshotNames};
use clade_store::digest::Verifier;
use serde::Serialize;

use crate::failure::Failure;
use crate::progress::Shown;
use crate::{snapshots, table};

/// The exit status when something is damaged.
const DAMAGED: u8 = 1;

/// Read snapshots as a whole, and say whether they are as they were made.
///
/// The exit status is 0 if they are, and 1 if anything is damaged, of which each file is named.
#[derive(Debug, clap::Args)]
pub(crate) struct Verify {
    /// The snapshots: MACHINE@TAG, ids, or the beginning of ids; all if there is none.
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
    /// Print JSON, with every detail.
    #[arg(long)]
    json: bool,
}

/// How a snapshot was found, as `verify --json` shows it.
#[derive(Debug, Serialize)]
struct Row {
    id: String,
    name: String,
    whole: bool,
    /// What is wrong with it.
    damage: Vec<String>,
}

impl Verify {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machines = Machines::of_user()?;
        let all = machines.snapshots()?.list();
        let all = all.map_err(clade_manager::Error::from)?;
        let names = SnapshotNames::of(&all.snapshots, &machines.list()?);
        let chosen = if self.snapshots.is_empty() {
            all.snapshots
        } else {
            let texts = self.snapshots.iter();
            let found = texts.map(|text| machines.find_snapshot(text));
            found.collect::<Result<_, _>>()?
        };
        let mut rows = verify(&chosen, &names);
        if self.snapshots.is_empty() {
            rows.extend(all.unreadable.iter().map(|one| Row {
                id: one.name.to_string(),
                name: one.name.to_string(),
                whole: false,
                damage: vec![one.reason.to_string()],
            }));
        }
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

fn verify(chosen: &[Snapshot], names: &SnapshotNames) -> Vec<Row> {
    let shown = Shown::new();
    let files = chosen.iter().flat_map(|one| one.manifest.files.values());
    if !chosen.is_empty() {
        let label = format!("reading {}", snapshots::count(chosen.len()));
        shown.begin(&label, files.map(|record| record.size).sum());
    }
    let mut verifier = Verifier::default();
    let row = |snapshot: &Snapshot| {
        let damage = snapshot.verify(&mut verifier, &mut |bytes| shown.advance(bytes));
        Row {
            id: snapshot.manifest.id.to_string(),
            name: names.get(snapshot).to_owned(),
            whole: damage.is_empty(),
            damage: damage.iter().map(ToString::to_string).collect(),
        }
    };
    let rows = chosen.iter().map(row).collect();
    shown.finish();
    rows
}

impl Row {
    fn lines(&self) -> Vec<String> {
        let word = if self.whole { "whole" } else { "damaged" };
        let mut lines = vec![format!("{} is {word}", self.name)];
        lines.extend(self.damage.iter().map(|damage| format!("  {damage}")));
        lines
    }
}
