//! Branching: snapshots, restores, clones, suspending and resuming, by the command as users run it,
//! against QEMU's `savevm` and `loadvm` and against QEMU started from a migration file.

mod clones;
pub(crate) mod command;
mod console;
mod pause;
mod peer;
mod qemu;
mod samples;
mod smaps;
mod system;
mod warm;

use std::time::Duration;

use clade_store::snapshots::Snapshot;

use command::Clade;
use samples::{Column, Samples};
use system::System;

use crate::Options;

const MS: &str = "ms";
const MIB: &str = "MiB";

/// What a guest writes between snapshots: 64 MiB that cannot be compressed.
const WRITE: &str = "dd if=/dev/urandom of=/dev/shm/written bs=1M count=64 2>/dev/null";

/// Generations of snapshots, each of a machine that went on from the one before.
const GENERATIONS: u32 = 10;

/// Measures and prints the table.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let version = crate::qemu::version(options.qemu())?;
    let system = System::find(options.quick, options.board)?;
    let mut session = Session {
        options,
        system: &system,
        clade: Clade::find(options.board)?,
        prefix: format!("bench-{}", std::process::id()),
        samples: Samples::default(),
        rounds: if options.quick { 3 } else { options.rounds },
    };
    session.measure()?;
    println!(
        "{}, {} MiB, 1 hart, {}; QEMU {version}, {}; of few figures p99 is the largest\n",
        system.title,
        system.memory,
        system.warmth,
        system.board.accelerator()
    );
    print!("{}", session.samples.text());
    Ok(())
}

struct Session<'a> {
    options: &'a Options,
    system: &'a System,
    clade: Clade,
    /// What the names of all machines begin with.
    prefix: String,
    samples: Samples,
    rounds: u32,
}

impl Session<'_> {
    fn measure(&mut self) -> Result<(), String> {
        let source = self.name("source");
        if ["snapshot", "clone", "restore", "suspend"]
            .iter()
            .any(|group| self.wants(group))
        {
            let memory = format!("{}M", self.system.memory);
            self.clade.start(&source, &self.system.image(), &memory)?;
            self.clade.shell(&source, self.system.warm)?;
        }
        self.group("snapshot", |session| session.snapshots(&source))?;
        self.group("clone", |session| session.clones(&source))?;
        self.group("suspend", |session| session.suspend(&source))?;
        self.group("restore", |session| session.restores(&source))?;
        self.group("pause", Self::pauses)?;
        self.group("warm", Self::warm)?;
        self.group("qemu", Self::qemu)
    }

    /// What a machine is called.
    fn name(&self, of: &str) -> String {
        format!("{}-{of}", self.prefix)
    }

    /// Whether rows that begin with this word are to be measured.
    fn wants(&self, group: &str) -> bool {
        let only = &self.options.only;
        only.is_empty() || only.iter().any(|one| one.split('-').next() == Some(group))
    }

    fn group(
        &mut self,
        name: &str,
        measure: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        if !self.wants(name) {
            return Ok(());
        }
        eprintln!("-- {name}");
        measure(self).map_err(|error| format!("{name}: {error}"))
    }

    fn time(&mut self, row: &str, column: Column, time: Duration) {
        self.samples.note(row, MS, column, time.as_secs_f64() * 1e3);
    }

    /// Notes what a snapshot took: of the command, of the guest's time, and of the disk.
    fn kept(&mut self, row: &str, time: Duration, snapshot: &Snapshot) -> Result<(), String> {
        self.time(&format!("{row}-total"), Column::Clade, time);
        let pause = Duration::from_nanos(snapshot.manifest.details.pause_ns);
        self.time(&format!("{row}-pause"), Column::Clade, pause);
        let layer = format!("{}.mem", snapshot.manifest.id);
        let layer = std::fs::metadata(snapshot.folder().join(layer));
        let bytes = layer.map_or(0, |meta| meta.len());
        let size = bytes as f64 / f64::from(1 << 20);
        self.samples
            .note(&format!("{row}-size"), MIB, Column::Clade, size);
        Ok(())
    }

    /// The first keeps everything, then little, then what 64 MiB of writing make.
    fn snapshots(&mut self, source: &str) -> Result<(), String> {
        let (time, first) = self.clade.snapshot(source, "first")?;
        self.kept("snapshot-first", time, &first)?;
        for round in 1..=self.rounds {
            let (time, kept) = self.clade.snapshot(source, &format!("idle-{round}"))?;
            self.kept("snapshot-idle", time, &kept)?;
            self.clade.shell(source, WRITE)?;
            let (time, kept) = self.clade.snapshot(source, &format!("written-{round}"))?;
            self.kept("snapshot-written", time, &kept)?;
        }
        for round in 1..=self.rounds {
            self.gaps(source, round)?;
        }
        self.clade.shell(source, "rm /dev/shm/written").map(drop)
    }

    fn suspend(&mut self, source: &str) -> Result<(), String> {
        for _ in 0..self.rounds {
            let time = self.clade.run(&["suspend", source])?;
            self.time("suspend", Column::Clade, time);
            let time = self.clade.run(&["resume", source])?;
            self.time("resume", Column::Clade, time);
            let time = self.clade.shell(source, "true")?;
            self.time("resume-first-exec", Column::Clade, time);
        }
        Ok(())
    }

    /// The first and the last of a chain of snapshots, in turn.
    fn restores(&mut self, source: &str) -> Result<(), String> {
        let tag = |generation: u32| format!("generation-{generation}");
        for generation in 1..=GENERATIONS {
            self.clade.snapshot(source, &tag(generation))?;
            let reference = format!("{source}@{}", tag(generation));
            self.clade.until_lines(&["restore", &reference], 1)?;
            self.clade.shell(
                source,
                "dd if=/dev/urandom of=/dev/shm/own bs=1M count=4 2>/dev/null",
            )?;
        }
        for _ in 0..self.rounds {
            for generation in [1, GENERATIONS] {
                let reference = format!("{source}@{}", tag(generation));
                let time = self.clade.until_lines(&["restore", &reference], 1)?;
                self.time(&format!("restore-{generation}"), Column::Clade, time);
                let time = self.clade.shell(source, "true")?;
                self.time("restore-first-exec", Column::Clade, time);
            }
        }
        Ok(())
    }
}
