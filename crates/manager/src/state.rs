//! How a machine is, as its folder tells.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;
use std::time::UNIX_EPOCH;

use clade_vmm::folder::{LOCK_FILE, RESTORED, SUSPENDED_FILE};
use clade_vmm::outcome::Outcome;
use clade_vmm::record::{LifeRecord, host_boot};
use serde::Serialize;

/// How a machine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// It was made and has never run.
    Created,
    /// It is about to run: its process has not said yet that it does.
    Starting,
    /// It runs.
    Running {
        /// The machine's process.
        pid: u32,
        /// Since when, in seconds since 1970-01-01 UTC.
        started: u64,
    },
    /// It is on disk with its memory, and goes on from there when it is resumed.
    Suspended {
        /// Since when, in seconds since 1970-01-01 UTC.
        since: u64,
    },
    /// It does not run any more.
    Stopped {
        /// Since when, in seconds since 1970-01-01 UTC.
        ended: u64,
        /// How it came to that.
        outcome: Outcome,
    },
    /// Its process is gone without a word.
    Lost {
        /// When it was started, in seconds since 1970-01-01 UTC.
        started: u64,
        /// Whether the host went down with it, rather than the process alone.
        host_restarted: bool,
    },
}

impl State {
    /// Whether a process has the machine.
    pub fn is_live(&self) -> bool {
        matches!(self, State::Starting | State::Running { .. })
    }

    /// Whether it goes on from its memory when it next starts.
    pub fn is_suspended(&self) -> bool {
        matches!(self, State::Suspended { .. })
    }

    /// The state in words that complete "the machine": "is running", "has stopped".
    pub fn described(&self) -> &'static str {
        match self {
            State::Created => "has never been started",
            State::Starting => "is starting",
            State::Running { .. } => "is running",
            State::Suspended { .. } => "is suspended",
            State::Stopped { .. } => "has stopped",
            State::Lost { .. } => "was lost: its process was killed, or the host went down",
        }
    }

    /// The state of the machine in `folder`, whose lock is held or not.
    pub(crate) fn of(folder: &Path, lock: LockState, record: Option<&LifeRecord>) -> Self {
        if lock == LockState::Free
            && let Some(since) = suspended_since(folder)
        {
            return State::Suspended { since };
        }
        match (lock, record) {
            (LockState::Held, Some(record))
                if record.end.is_none() && lock_pid(folder) == Some(record.pid) =>
            {
                State::Running {
                    pid: record.pid,
                    started: record.started,
                }
            }
            (LockState::Held, _) => State::Starting,
            (LockState::Free, None) => State::Created,
            (LockState::Free, Some(record)) => match &record.end {
                Some(end) => State::Stopped {
                    ended: end.at,
                    outcome: end.outcome.clone(),
                },
                None => State::Lost {
                    started: record.started,
                    host_restarted: record.host_boot != host_boot(),
                },
            },
        }
    }
}

/// When the machine was suspended, in seconds since 1970-01-01 UTC, if it was.
fn suspended_since(folder: &Path) -> Option<u64> {
    let mark = |folder: &Path| fs::metadata(folder.join(SUSPENDED_FILE));
    let mark = mark(&folder.join(RESTORED)).or_else(|_| mark(folder));
    let written = mark.ok()?.modified();
    let since = written
        .ok()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Some(since.map_or(0, |since| since.as_secs()))
}

/// Whether somebody has a machine's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockState {
    Held,
    Free,
}

impl LockState {
    /// Looks, and lets go at once: under the lock of all machines, so that nobody who wants to keep
    /// it is kept from it.
    pub(crate) fn of(folder: &Path) -> Self {
        match File::open(folder.join(LOCK_FILE)) {
            Ok(file) if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) => LockState::Held,
            Err(error) if error.kind() != ErrorKind::NotFound => LockState::Held,
            _ => LockState::Free,
        }
    }
}

/// The process that last had the folder, if it got as far as to say so.
pub(crate) fn lock_pid(folder: &Path) -> Option<u32> {
    fs::read_to_string(folder.join(LOCK_FILE))
        .ok()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use clade_vmm::record::EndRecord;

    use super::*;

    fn record(end: Option<EndRecord>) -> LifeRecord {
        LifeRecord {
            pid: 7,
            host_boot: host_boot(),
            started: 100,
            sockets: "/sockets".into(),
            end,
        }
    }

    #[test]
    fn a_folder_tells_how_its_machine_is() {
        let home = tempfile::tempdir().expect("folder");
        let folder = home.path();
        let ended = record(Some(EndRecord {
            at: 200,
            outcome: Outcome::PowerOff,
        }));
        let alive = record(None);
        let of = |lock, record| State::of(folder, lock, record);
        assert_eq!(of(LockState::Free, None), State::Created);
        assert_eq!(of(LockState::Held, None), State::Starting);
        assert_eq!(of(LockState::Held, Some(&ended)), State::Starting);
        // A record of the life before: this one's process is another.
        fs::write(folder.join(LOCK_FILE), "8").expect("lock");
        assert_eq!(of(LockState::Held, Some(&alive)), State::Starting);
        fs::write(folder.join(LOCK_FILE), "7").expect("lock");
        let running = State::Running {
            pid: 7,
            started: 100,
        };
        assert_eq!(of(LockState::Held, Some(&alive)), running);
        let stopped = State::Stopped {
            ended: 200,
            outcome: Outcome::PowerOff,
        };
        assert_eq!(of(LockState::Free, Some(&ended)), stopped);
        let lost = |host_restarted| State::Lost {
            started: 100,
            host_restarted,
        };
        assert_eq!(of(LockState::Free, Some(&alive)), lost(false));
        let before = LifeRecord {
            host_boot: "another boot".into(),
            ..alive.clone()
        };
        assert_eq!(of(LockState::Free, Some(&before)), lost(true));
        fs::write(folder.join(SUSPENDED_FILE), "").expect("mark");
        let now = clade_vmm::record::now();
        for record in [&ended, &alive, &before] {
            let state = of(LockState::Free, Some(record));
            assert!(matches!(state, State::Suspended { since } if since.abs_diff(now) < 60));
        }
        // Its process is about to end, or to go on from it.
        assert_eq!(of(LockState::Held, Some(&alive)), running);
    }

    #[test]
    fn a_lock_is_seen() {
        let home = tempfile::tempdir().expect("folder");
        assert_eq!(LockState::of(home.path()), LockState::Free);
        let file = File::create(home.path().join(LOCK_FILE)).expect("lock");
        assert_eq!(LockState::of(home.path()), LockState::Free);
        file.lock().expect("lock");
        assert_eq!(LockState::of(home.path()), LockState::Held);
    }
}
