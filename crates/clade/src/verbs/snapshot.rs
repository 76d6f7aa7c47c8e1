//! `clade snapshot`

use std::io::{self, Write};
use std::process::ExitCode;

use clade_manager::{Machines, SnapshotOptions};

use crate::failure::Failure;
use crate::size;
use crate::waiting::Waiting;

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

fn remove(texts: &[String]) -> Result<ExitCode, Failure> {
    let machines = Machines::of_user()?;
    let snapshots = machines.snapshots()?;
    // All are found before any is removed.
    let found = texts.iter().map(|text| machines.find_snapshot(text));
    for (snapshot, text) in found.collect::<Result<Vec<_>, _>>()?.iter().zip(texts) {
        snapshots
            .remove(&snapshot.name)
            .map_err(clade_manager::Error::from)?;
        writeln!(io::stdout(), "{text}").map_err(|error| Failure::of_output(&error))?;
    }
    Ok(ExitCode::SUCCESS)
}
