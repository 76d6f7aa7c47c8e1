//! The machines of this user on this host.

use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clade_store::{Folders, Lock};
use clade_vmm::console::{LOG_FILE, OLD_LOG_FILE};
use clade_vmm::control::{Connection, Event, FromMachine, Request, SOCKET_FILE, Status};
use clade_vmm::folder::LOCK_FILE;
use clade_vmm::outcome::Outcome;
use clade_vmm::spec::{MachineSpec, SPEC_FILE};

use crate::Error;

/// A machine that does not answer within this time is said to hang.
const PATIENCE: Duration = Duration::from_secs(5);

/// A folder without a lock file is one whose process is about to remove it, unless it is older
/// than this.
const LEFT_OVER: Duration = Duration::from_secs(60);

/// The machines of this user on this host.
#[derive(Debug, Clone)]
pub struct Machines {
    folder: PathBuf,
}

/// A machine that runs.
#[derive(Debug, Clone)]
pub struct Machine {
    /// What it is.
    pub spec: MachineSpec,
    folder: PathBuf,
}

impl Machines {
    /// The machines of the user who runs this process.
    ///
    /// # Errors
    /// When there is no folder that is safe from other users.
    pub fn of_user() -> Result<Self, Error> {
        Self::in_folder(Folders::of_user()?.runtime()?.join("machines"))
    }

    /// The machines whose folders are in `folder`, which is created if missing.
    ///
    /// # Errors
    /// When the folder is not this user's alone.
    pub fn in_folder(folder: PathBuf) -> Result<Self, Error> {
        clade_store::private_folder(&folder)?;
        Ok(Self { folder })
    }

    /// Where the machines' folders are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Keeps others from creating or clearing away folders meanwhile.
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        Ok(Lock::acquire(&self.folder.join(".lock"), || ())?)
    }

    /// The machines that run, by name. Clears away what is left of those that are gone.
    ///
    /// # Errors
    /// When the folders cannot be read.
    pub fn list(&self) -> Result<Vec<Machine>, Error> {
        let _lock = self.lock()?;
        let mut machines = Vec::new();
        let entries = fs::read_dir(&self.folder).map_err(Error::io("list", &self.folder))?;
        for entry in entries {
            let folder = entry.map_err(Error::io("list", &self.folder))?.path();
            if !folder.is_dir() {
                continue;
            }
            if is_abandoned(&folder) {
                clear(&folder)?;
            } else if let Some(spec) = read_spec(&folder) {
                machines.push(Machine { spec, folder });
            }
        }
        machines.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        Ok(machines)
    }

    /// The machine that has this name or id, or else the only one whose name or id starts so.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Ambiguous`].
    pub fn find(&self, text: &str) -> Result<Machine, Error> {
        choose(self.list()?, text)
    }
}

impl Machine {
    /// Connects to the machine's control socket.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn connect(&self) -> Result<Connection, Error> {
        let path = self.folder.join(SOCKET_FILE);
        Connection::open(&path).map_err(|error| self.no_answer(error.to_string()))
    }

    /// Asks the machine how it is.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn status(&self) -> Result<Status, Error> {
        let answer = self.ask(&Request::Status, |event| match event {
            Event::Status(status) => Some(status),
            _ => None,
        })?;
        answer.ok_or_else(|| self.no_answer("it is about to end".into()))
    }

    /// Stops the machine and waits until it is gone. One that ended by itself meanwhile is as
    /// good.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn stop(&self) -> Result<Outcome, Error> {
        let outcome = self.ask(&Request::Stop, |event| match event {
            Event::Ended(outcome) => Some(outcome),
            _ => None,
        })?;
        Ok(outcome.unwrap_or(Outcome::Stopped))
    }

    /// What the machine printed on its console, as far as it is kept (the last 16 MiB at least).
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn console_log(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        for name in [OLD_LOG_FILE, LOG_FILE] {
            let path = self.folder.join(name);
            match fs::read(&path) {
                Ok(part) => bytes.extend(part),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("read the console log", path)(error)),
            }
        }
        Ok(bytes)
    }

    /// The machine's process, if it got as far as to say so.
    pub fn pid(&self) -> Option<u32> {
        fs::read_to_string(self.folder.join(LOCK_FILE))
            .ok()?
            .parse()
            .ok()
    }

    /// Sends one request and waits for the event that answers it; `None` when the machine went
    /// away first.
    fn ask<T>(
        &self,
        request: &Request,
        answer: impl Fn(Event) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let mut connection = match Connection::open(&self.folder.join(SOCKET_FILE)) {
            // It ended between being found and being asked.
            Err(_) if !self.folder.exists() => return Ok(None),
            other => other.map_err(|error| self.no_answer(error.to_string()))?,
        };
        let failed = |error: io::Error| self.no_answer(error.to_string());
        connection
            .receiver
            .set_patience(Some(PATIENCE))
            .map_err(failed)?;
        connection.sender.request(request).map_err(failed)?;
        loop {
            let frame = connection.receiver.receive();
            match frame.map_err(|error| self.no_answer(error.to_string()))? {
                None => return Ok(None),
                Some(FromMachine::Output(_)) => {}
                Some(FromMachine::Event(event)) => {
                    if let Some(answer) = answer(event) {
                        return Ok(Some(answer));
                    }
                }
            }
        }
    }

    fn no_answer(&self, reason: String) -> Error {
        let name = self.spec.name.clone();
        Error::NoAnswer {
            name,
            reason,
            pid: self.pid(),
        }
    }
}

/// Whether the folder's machine is gone: nobody holds the lock. Needs [`Machines::lock`], so that
/// no folder is seen before its creator has locked it.
fn is_abandoned(folder: &Path) -> bool {
    match File::open(folder.join(LOCK_FILE)) {
        Ok(file) => !matches!(file.try_lock(), Err(TryLockError::WouldBlock)),
        Err(error) if error.kind() == ErrorKind::NotFound => is_old(folder),
        Err(_) => false,
    }
}

fn is_old(folder: &Path) -> bool {
    let modified = fs::metadata(folder).and_then(|meta| meta.modified());
    modified.is_ok_and(|time| {
        SystemTime::now()
            .duration_since(time)
            .is_ok_and(|age| age > LEFT_OVER)
    })
}

pub(crate) fn clear(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::io("clear away", folder)(error))
        }
        _ => Ok(()),
    }
}

/// `None` for a machine that is ending and has removed it, or of another version of Clade.
fn read_spec(folder: &Path) -> Option<MachineSpec> {
    let text = fs::read(folder.join(SPEC_FILE)).ok()?;
    serde_json::from_slice(&text).ok()
}

fn choose(machines: Vec<Machine>, text: &str) -> Result<Machine, Error> {
    let names = |machines: &[&Machine]| -> Vec<String> {
        machines
            .iter()
            .map(|machine| machine.spec.name.clone())
            .collect()
    };
    let exact = |machine: &&Machine| machine.spec.name == text || machine.spec.id == text;
    if let Some(machine) = machines.iter().find(exact) {
        return Ok(machine.clone());
    }
    let starts = |machine: &&Machine| {
        !text.is_empty()
            && (machine.spec.name.starts_with(text) || machine.spec.id.starts_with(text))
    };
    let matches: Vec<&Machine> = machines.iter().filter(starts).collect();
    match matches.as_slice() {
        [machine] => Ok((*machine).clone()),
        [] => {
            let known = names(&machines.iter().collect::<Vec<_>>());
            Err(Error::NotFound {
                text: text.to_owned(),
                known,
            })
        }
        _ => Err(Error::Ambiguous {
            text: text.to_owned(),
            matches: names(&matches),
        }),
    }
}

#[cfg(test)]
mod tests {
    use clade_vmm::spec::MachineConfig;

    use super::*;

    pub(crate) fn spec(name: &str, id: &str) -> MachineSpec {
        MachineSpec {
            id: id.to_owned(),
            name: name.to_owned(),
            image: None,
            created: 0,
            config: MachineConfig::default(),
        }
    }

    fn machine(name: &str, id: &str) -> Machine {
        Machine {
            spec: spec(name, id),
            folder: PathBuf::new(),
        }
    }

    #[test]
    fn found_by_name_id_and_unique_prefix() {
        let machines = vec![
            machine("web", "aaaa00000000"),
            machine("web-2", "aabb00000000"),
            machine("db", "cccc00000000"),
        ];
        let find = |text| choose(machines.clone(), text).map(|machine| machine.spec.name);
        for (text, name) in [
            ("web", "web"),
            ("web-", "web-2"),
            ("d", "db"),
            ("aabb00000000", "web-2"),
            ("aab", "web-2"),
            ("ccc", "db"),
        ] {
            assert_eq!(find(text).expect(text), name);
        }
        assert!(matches!(find("we"), Err(Error::Ambiguous { matches, .. }) if matches.len() == 2));
        assert!(matches!(find("aa"), Err(Error::Ambiguous { .. })));
        assert!(matches!(find("x"), Err(Error::NotFound { known, .. }) if known.len() == 3));
        assert!(matches!(find(""), Err(Error::NotFound { .. })));
    }

    #[test]
    fn a_dead_machine_is_cleared_away_and_a_live_one_kept() {
        let home = tempfile::tempdir().expect("folder");
        let machines = Machines::in_folder(home.path().join("machines")).expect("machines");
        let make = |name: &str| {
            let folder = machines.folder().join(name);
            fs::create_dir(&folder).expect("folder");
            let text = serde_json::to_vec(&spec(name, name)).expect("spec");
            fs::write(folder.join(SPEC_FILE), text).expect("spec");
            let lock = File::create(folder.join(LOCK_FILE)).expect("lock");
            lock.lock().expect("lock");
            lock
        };
        let alive = make("alive");
        drop(make("dead"));
        fs::create_dir(machines.folder().join("ending")).expect("folder");
        let names = || -> Vec<String> {
            let machines = machines.list().expect("list");
            machines
                .into_iter()
                .map(|machine| machine.spec.name)
                .collect()
        };
        assert_eq!(names(), ["alive"]);
        assert!(!machines.folder().join("dead").exists());
        assert!(machines.folder().join("ending").exists());
        drop(alive);
        assert!(names().is_empty());
    }
}
