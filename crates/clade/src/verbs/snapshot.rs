//! `clade snapshot`

use std::io::{self, Write};
use std::process::ExitCode;

use clade_manager::{Error, Machines, Snapshot as Taken, SnapshotNames, SnapshotOptions};
use clade_store::FileName;
use clade_vmm::record;

use crate::failure::Failure;
use crate::snapshots::{self, Summary};
use crate::waiting::Waiting;
use crate::{size, state, table};

/// Keep a machine as it is now: memory, disks and all, while it runs.
///
/// Prints what the snapshot is called. `clade restore` goes back to it, `clade clone` makes new machines
/// from it, and `clade tree` shows what came from what. A snapshot costs what changed since the last one.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Snapshot {
    /// The machine: its name, its id, or the beginning of either.
    #[arg(required = true)]
    machine: Option<String>,
    /// What to call the snapshot: it is then MACHINE@TAG.
    #[arg(long, short)]
    tag: Option<String>,
    /// Keep the disks alone, as they would be if the machine's power was cut.
    #[arg(long)]
    disk_only: bool,
    /// Stop the machine afterwards, at that very instant.
    #[arg(long)]
    stop: bool,
    #[command(subcommand)]
    verb: Option<SnapshotVerb>,
}

#[derive(Debug, clap::Subcommand)]
enum SnapshotVerb {
    /// List snapshots, oldest first.
    Ls {
        /// Only those of this machine, which may be gone: its name, its id, or the beginning of either.
        machine: Option<String>,
        /// Print JSON, with every detail.
        #[arg(long)]
        json: bool,
    },
    /// Remove snapshots. What others share with them they keep.
    Rm {
        /// The snapshots: MACHINE@TAG, ids, or the beginning of ids.
        #[arg(required = true, value_name = "SNAPSHOT")]
        snapshots: Vec<String>,
    },
}

impl Snapshot {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self.verb {
            Some(SnapshotVerb::Ls { machine, json }) => list(machine.as_deref(), json),
            Some(SnapshotVerb::Rm { snapshots }) => remove(&snapshots),
            None => self.take(),
        }
    }

    fn take(self) -> Result<ExitCode, Failure> {
        let machines = Machines::of_user()?;
        let machine = machines.find(self.machine.as_deref().unwrap_or_default())?;
        if let Some(tag) = &self.tag {
            check_tag(tag)?;
        }
        let snapshots = machines.snapshots()?;
        let options = SnapshotOptions {
            tag: self.tag,
            disks_only: self.disk_only,
        };
        let was_paused = self.stop && machine.state.is_live() && !machine.pause()?;
        let name = &machine.spec.name;
        let waiting = Waiting::default();
        let shown = waiting.begin(&format!("keeping {name}"), None);
        let taken = machine.snapshot(&snapshots, options, &mut |bytes| {
            shown.set_message(format!("keeping {name} · {}", size::show(bytes)));
        });
        waiting.end(shown);
        if self.stop && machine.state.is_live() {
            if taken.is_ok() {
                machine.kill()?;
            } else if !was_paused {
                machine.resume_running()?;
            }
        }
        let snapshot = taken?;
        let called = match &snapshot.manifest.details.name {
            Some(tag) => format!("{name}@{tag}"),
            None => snapshot.manifest.id.to_string(),
        };
        writeln!(io::stdout(), "{called}").map_err(|error| Failure::of_output(&error))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// What can be typed behind an `@`.
fn check_tag(tag: &str) -> Result<(), Failure> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if !tag.is_empty() && tag.len() <= 63 && tag.chars().all(plain) {
        return Ok(());
    }
    Err(Failure::new(format!(
        "'{tag}' is no tag for a snapshot\n\
         Use up to 63 letters, digits, '-', '_' and '.'."
    )))
}

fn list(machine: Option<&str>, json: bool) -> Result<ExitCode, Failure> {
    let machines = Machines::of_user()?;
    let all = machines.snapshots()?.list();
    let all = all.map_err(Error::from)?;
    let names = SnapshotNames::of(&all.snapshots, &machines.list()?);
    let chosen = match machine {
        Some(machine) => of_machine(&machines, machine)?,
        None => all.snapshots,
    };
    let rows: Vec<_> = chosen
        .iter()
        .map(|one| Summary::of(one, names.get(one)))
        .collect();
    if json {
        table::print_json(&rows)?;
    } else {
        let now = record::now();
        let lines: Vec<_> = rows.iter().map(|row| cells(row, now)).collect();
        let heading = ["SNAPSHOT", "ID", "MEMORY", "OWN", "SHARED", "PAUSE", "AGE"];
        table::print(heading, &lines)?;
    }
    if machine.is_none() {
        snapshots::tell_of_unreadable(&all.unreadable);
    }
    Ok(ExitCode::SUCCESS)
}

/// The snapshots of a machine, which exists if it has none.
fn of_machine(machines: &Machines, text: &str) -> Result<Vec<Taken>, Failure> {
    let found = machines.snapshots_of(text)?;
    if found.is_empty() {
        machines.find(text)?;
    }
    Ok(found)
}

fn cells(row: &Summary<'_>, now: u64) -> [String; 7] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        row.name.to_owned(),
        row.id(),
        row.memory.map_or("disks only".to_owned(), size::show),
        or_dash(row.own.map(size::show)),
        or_dash(row.shared.map(size::show)),
        or_dash(snapshots::pause(row.pause_ns)),
        state::duration(now.saturating_sub(row.created)),
    ]
}

/// The name of a snapshot's folder, which may be damaged.
fn folder_of(machines: &Machines, text: &str) -> Result<FileName, Error> {
    let error = match machines.find_snapshot(text) {
        Ok(snapshot) => return Ok(snapshot.name),
        Err(error) => error,
    };
    let unreadable = machines.snapshots()?.list()?.unreadable;
    let mut names = unreadable.into_iter().map(|one| one.name);
    names.find(|name| name.as_str() == text).ok_or(error)
}

fn remove(texts: &[String]) -> Result<ExitCode, Failure> {
    let machines = Machines::of_user()?;
    let snapshots = machines.snapshots()?;
    // All are found before any is removed.
    let found = texts.iter().map(|text| folder_of(&machines, text));
    for (name, text) in found.collect::<Result<Vec<_>, _>>()?.iter().zip(texts) {
        snapshots.remove(name).map_err(Error::from)?;
        writeln!(io::stdout(), "{text}").map_err(|error| Failure::of_output(&error))?;
    }
    Ok(ExitCode::SUCCESS)
}
