//! Clones: how soon they run, how soon they answer, what they take.

use std::fs;
use std::thread;
use std::time::Duration;

use super::samples::Column;
use super::{MIB, MS, Session, smaps};

/// What a clone does before its memory is looked at again: programs, files and a pipe.
const WORK: &str = "i=0; while [ $i -lt 20 ]; do ls -l /bin /etc | sort | wc -l; i=$((i+1)); done";

/// A clone that has had nothing to do for so long is idle.
const IDLE: Duration = Duration::from_secs(3);

impl Session<'_> {
    pub(super) fn clones(&mut self, source: &str) -> Result<(), String> {
        self.clade.snapshot(source, "cloned")?;
        let snapshot = format!("{source}@cloned");
        let before = children_time()?;
        for round in 1..=self.rounds {
            self.clone("clone", &snapshot, round)?;
        }
        // The commands alone: all that this process waited for.
        let spent = (children_time()? - before) / f64::from(self.rounds);
        self.samples
            .note("clone-commands-cpu", MS, Column::Clade, spent);
        for round in 1..=self.rounds {
            self.answers(&snapshot, round)?;
        }
        let many = if self.options.quick { 10 } else { 100 };
        for round in 1..=self.rounds.min(3) {
            self.many(&snapshot, many, round)?;
        }
        Ok(())
    }

    /// Another one, whose console is the first to be used.
    fn answers(&mut self, snapshot: &str, round: u32) -> Result<(), String> {
        let name = self.name(&format!("answers-{round}"));
        self.clade.own(&name);
        self.clade.run(&["clone", snapshot, "--name", &name])?;
        let [first, second] = self.clade.answers(&name)?;
        self.time("clone-first-answer", Column::Clade, first);
        self.time("clone-second-answer", Column::Clade, second);
        self.clade.remove(&[name])
    }

    /// Makes a clone, uses it and removes it; the names of the rows begin with `rows`.
    pub(super) fn clone(&mut self, rows: &str, snapshot: &str, round: u32) -> Result<(), String> {
        let name = self.name(&format!("{rows}-{round}"));
        self.clade.own(&name);
        let arguments = ["clone", snapshot, "--name", &name];
        let time = self.clade.until_lines(&arguments, 1)?;
        self.time(&format!("{rows}-start"), Column::Clade, time);
        let process = self.clade.process(&name)?;
        let cpu = threads_time(process, |thread| !thread.starts_with("vcpu"))?;
        self.samples
            .note(&format!("{rows}-process-cpu"), MS, Column::Clade, cpu);
        let time = self.clade.shell(&name, "true")?;
        self.time(&format!("{rows}-first-exec"), Column::Clade, time);
        let time = self.clade.shell(&name, "true")?;
        self.time(&format!("{rows}-second-exec"), Column::Clade, time);
        thread::sleep(IDLE);
        self.memory(&format!("{rows}-memory"), process)?;
        self.clade.shell(&name, WORK)?;
        self.memory(&format!("{rows}-worked"), process)?;
        self.clade.remove(&[name])
    }

    fn memory(&mut self, row: &str, process: u32) -> Result<(), String> {
        let private = smaps::private(process)?;
        let mut note = |what: &str, size| {
            self.samples
                .note(&format!("{row}-{what}"), MIB, Column::Clade, size);
        };
        note("all", private.all());
        note("own", private.own);
        note("code", private.code);
        note("guest", private.guest);
        Ok(())
    }

    fn many(&mut self, snapshot: &str, count: usize, round: u32) -> Result<(), String> {
        let prefix = self.name(&format!("many-{round}"));
        let names: Vec<String> = (1..=count)
            .map(|number| format!("{prefix}-{number}"))
            .collect();
        names.iter().for_each(|name| self.clade.own(name));
        let number = count.to_string();
        let arguments = ["clone", snapshot, "-n", &number, "--name-prefix", &prefix];
        let time = self.clade.until_lines(&arguments, count)?;
        self.time(&format!("clone-{count}"), Column::Clade, time);
        self.time("clone-many-each", Column::Clade, time / count as u32);
        // Until the guests know who they are, and no longer than it takes to see that they do not.
        thread::sleep(Duration::from_secs(2));
        let process = self.clade.process(&names[0])?;
        self.memory("clone-one-of-many", process)?;
        self.clade.remove(&names)
    }
}

/// Processor time in ms of a process's threads whose names are `wanted`.
fn threads_time(process: u32, wanted: impl Fn(&str) -> bool) -> Result<f64, String> {
    let folder = format!("/proc/{process}/task");
    let mut nanoseconds = 0.0;
    for thread in fs::read_dir(&folder).map_err(|error| format!("{folder}: {error}"))? {
        let thread = thread.map_err(|error| format!("{folder}: {error}"))?.path();
        let read = |file| fs::read_to_string(thread.join(file)).unwrap_or_default();
        if wanted(&read("comm")) {
            let first = read("schedstat");
            let first = first
                .split_whitespace()
                .next()
                .and_then(|text| text.parse::<f64>().ok());
            nanoseconds += first.unwrap_or(0.0);
        }
    }
    Ok(nanoseconds / 1e6)
}

/// Processor time in ms of the processes that this one waited for: `cutime` and `cstime` of
/// proc_pid_stat(5), in hundredths of a second.
fn children_time() -> Result<f64, String> {
    let stat = fs::read_to_string("/proc/self/stat").map_err(|error| error.to_string())?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let times = fields.split_whitespace().skip(13).take(2);
    Ok(times
        .filter_map(|text| text.parse::<f64>().ok())
        .sum::<f64>()
        * 10.0)
}
