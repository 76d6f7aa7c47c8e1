//! What is known of a machine's latest life: written by its process when it begins and when it
//! ends, and read by whoever asks how the machine is.
//!
//! A record without an end, of a machine whose lock nobody holds, tells that the process was killed
//! or the host went down.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::outcome::Outcome;

/// Name of the file in a machine's folder that holds its [`LifeRecord`] as JSON.
pub const RECORD_FILE: &str = "life.json";

/// Where the next record is written before it takes the place of the last.
const STAGED_FILE: &str = "life.json.next";

/// A machine's latest life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LifeRecord {
    /// The machine's process.
    pub pid: u32,
    /// Which boot of the host it belongs to; see [`host_boot`].
    pub host_boot: String,
    /// When it began, in seconds since 1970-01-01 UTC.
    pub started: u64,
    /// The folder of the machine's sockets.
    pub sockets: PathBuf,
    /// How it ended, once it has.
    pub end: Option<EndRecord>,
}

/// The end of a life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndRecord {
    /// When, in seconds since 1970-01-01 UTC.
    pub at: u64,
    /// How.
    pub outcome: Outcome,
}

impl LifeRecord {
    /// The record in a machine's folder; `None` if it has never run.
    ///
    /// # Errors
    /// When it cannot be read or understood.
    pub fn read(folder: &Path) -> io::Result<Option<Self>> {
        match fs::read(folder.join(RECORD_FILE)) {
            Ok(text) if text.is_empty() => Ok(None),
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Names the current boot of the host; empty where the host does not say.
pub fn host_boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// Seconds since 1970-01-01 UTC.
pub fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |elapsed| elapsed.as_secs())
}

/// Writes the record of this process's machine.
#[derive(Debug)]
pub(crate) struct Recorder {
    folder: PathBuf,
    record: LifeRecord,
    /// Open from the start: the process may create nothing later.
    staged: File,
    durable: bool,
}

impl Recorder {
    /// Records that a life begins. That is not waited for to be on the disk: without it, a crash of
    /// the host leaves the record of the life before, or an empty one, which is none. The end is, if
    /// the record is to be `durable`.
    pub(crate) fn begin(folder: &Path, sockets: &Path, durable: bool) -> io::Result<Self> {
        let record = LifeRecord {
            pid: process::id(),
            host_boot: host_boot(),
            started: now(),
            sockets: sockets.to_owned(),
            end: None,
        };
        let staged = File::create(folder.join(STAGED_FILE))?;
        publish(folder, staged, &record, false)?;
        Ok(Self {
            folder: folder.to_owned(),
            record,
            staged: File::create(folder.join(STAGED_FILE))?,
            durable,
        })
    }

    /// Records how it ended.
    pub(crate) fn end(mut self, outcome: &Outcome) -> io::Result<()> {
        self.record.end = Some(EndRecord {
            at: now(),
            outcome: outcome.clone(),
        });
        publish(&self.folder, self.staged, &self.record, self.durable)
    }
}

/// A crash leaves the record before or this one. That the name itself is on the disk is not waited
/// for: after a crash of the host, a life whose end is not known ended with it.
fn publish(folder: &Path, mut staged: File, record: &LifeRecord, durable: bool) -> io::Result<()> {
    staged.write_all(&serde_json::to_vec_pretty(record)?)?;
    if durable {
        staged.sync_data()?;
    }
    fs::rename(folder.join(STAGED_FILE), folder.join(RECORD_FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_begins_and_ends_and_begins_again() {
        let folder = tempfile::tempdir().expect("folder");
        let read = || LifeRecord::read(folder.path()).expect("readable");
        assert_eq!(read(), None);
        for outcome in [Outcome::PowerOff, Outcome::Failed(3)] {
            let recorder =
                Recorder::begin(folder.path(), Path::new("/sockets"), true).expect("begin");
            let begun = read().expect("a record");
            assert_eq!((begun.pid, &begun.end), (process::id(), &None));
            assert_eq!(begun.sockets, Path::new("/sockets"));
            recorder.end(&outcome).expect("end");
            let ended = read().expect("a record").end.expect("an end");
            assert_eq!(ended.outcome, outcome);
            assert!(ended.at >= begun.started);
        }
    }

    #[test]
    fn a_record_that_is_none_is_an_error() {
        let folder = tempfile::tempdir().expect("folder");
        fs::write(folder.path().join(RECORD_FILE), "{").expect("write");
        assert!(LifeRecord::read(folder.path()).is_err());
    }
}
