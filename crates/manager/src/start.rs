//! Starting a machine.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::SystemTime;

use clade_vmm::control::{Connection, Event, FromMachine};
use clade_vmm::folder::{LOCK_FILE, MACHINE_LOG_FILE};
use clade_vmm::spec::{MachineConfig, MachineSpec, SPEC_FILE};

use crate::machines::clear;
use crate::names::{check_name, friendly_name, new_id};
use crate::{Error, Host, Machines};

/// So many friendly names are tried before a name is asked for.
const NAME_TRIES: u32 = 50;

/// How much of a dead process's log is shown, in bytes.
const LOG_TAIL: usize = 2000;

/// What machine is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The name; a friendly one is chosen if there is none.
    pub name: Option<String>,
    /// The image that it comes from.
    pub image: Option<String>,
    /// What it is made of. Files may be named relative to the working directory.
    pub config: MachineConfig,
}

/// A machine that was started.
#[derive(Debug)]
pub struct Started {
    /// What it is.
    pub spec: MachineSpec,
    process: Process,
}

impl Machines {
    /// Creates a machine and builds it in a process of its own, started by `program`, which gets
    /// the machine's folder as its last argument and must call [`clade_vmm::process::run`].
    ///
    /// The guest does not start until [`clade_vmm::control::Request::Attach`] or `Detach` is sent
    /// on the connection; when that closes first, the machine ends.
    ///
    /// # Errors
    /// [`Error::Cpus`] and [`Error::Memory`] for what the host cannot carry, [`Error::BadName`],
    /// [`Error::NameTaken`], and [`Error::Refused`] for a machine that cannot be built.
    pub fn start(&self, order: Order, program: Command) -> Result<(Started, Connection), Error> {
        let host = Host::of_this_machine().map_err(Error::io("read", "/proc"))?;
        host.check(order.config.cpus, order.config.memory)?;
        let (spec, folder, lock) = self.create(order)?;
        let started = launch(spec, &folder, lock, program);
        if started.is_err() {
            clear(&folder)?;
        }
        started
    }

    /// Makes the folder, under a lock that makes it the new machine's before anybody else sees it.
    fn create(&self, order: Order) -> Result<(MachineSpec, PathBuf, File), Error> {
        if let Some(name) = &order.name {
            check_name(name)?;
        }
        // Clears away what a dead machine of that name left.
        self.list()?;
        let _lock = self.lock()?;
        let (name, folder) = self.claim_name(order.name.as_deref())?;
        let spec = MachineSpec {
            id: new_id().map_err(Error::io("read randomness for", &folder))?,
            name,
            image: order.image,
            created: seconds_since_1970(),
            config: with_absolute_paths(order.config)?,
        };
        let lock = furnish(&folder, &spec).inspect_err(|_| {
            // The first error is the one to tell.
            let _ = clear(&folder);
        })?;
        Ok((spec, folder, lock))
    }

    fn claim_name(&self, wanted: Option<&str>) -> Result<(String, PathBuf), Error> {
        for _ in 0..NAME_TRIES {
            let name = match wanted {
                Some(name) => name.to_owned(),
                None => friendly_name().map_err(Error::io("choose a name in", &self.folder()))?,
            };
            let folder = self.folder().join(&name);
            match fs::DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => return Ok((name, folder)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    if let Some(name) = wanted {
                        return Err(Error::NameTaken {
                            name: name.to_owned(),
                        });
                    }
                }
                Err(error) => return Err(Error::io("create folder", folder)(error)),
            }
        }
        Err(Error::NameTaken {
            name: "of every friendly kind".to_owned(),
        })
    }
}

fn furnish(folder: &Path, spec: &MachineSpec) -> Result<File, Error> {
    let path = folder.join(LOCK_FILE);
    let lock = File::create(&path).map_err(Error::io("create", &path))?;
    lock.lock().map_err(Error::io("lock", &path))?;
    let path = folder.join(SPEC_FILE);
    let text =
        serde_json::to_vec_pretty(spec).map_err(|error| Error::io("write", &path)(error.into()))?;
    fs::write(&path, text).map_err(Error::io("write", &path))?;
    Ok(lock)
}

fn launch(
    spec: MachineSpec,
    folder: &Path,
    lock: File,
    mut program: Command,
) -> Result<(Started, Connection), Error> {
    let (ours, theirs) = UnixStream::pair().map_err(Error::io("connect to", folder))?;
    let log = folder.join(MACHINE_LOG_FILE);
    let log = File::create(&log).map_err(Error::io("create", log))?;
    program
        .arg(folder)
        .current_dir("/")
        .stdin(lock)
        .stdout(OwnedFd::from(theirs))
        .stderr(log);
    let child = program
        .spawn()
        .map_err(Error::io("start a process for", folder))?;
    // With it goes this process's hold on the lock and on the far end of the connection.
    drop(program);
    let mut connection = Connection::over(ours).map_err(Error::io("connect to", folder))?;
    let mut process = Process {
        child,
        name: spec.name.clone(),
        folder: folder.to_owned(),
    };
    match connection.receiver.receive() {
        Ok(Some(FromMachine::Event(Event::Ready))) => Ok((Started { spec, process }, connection)),
        Ok(Some(FromMachine::Event(Event::Refused { reason }))) => {
            process.wait();
            Err(Error::Refused(reason))
        }
        _ => Err(process.into_death()),
    }
}

impl Started {
    /// The machine's process is gone without a word; this is why, as far as can be known.
    pub fn into_death(self) -> Error {
        self.process.into_death()
    }
}

#[derive(Debug)]
struct Process {
    child: Child,
    name: String,
    folder: PathBuf,
}

impl Process {
    fn wait(&mut self) -> String {
        match self.child.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }

    fn into_death(mut self) -> Error {
        let how = self.wait();
        let log = fs::read(self.folder.join(MACHINE_LOG_FILE)).unwrap_or_default();
        let tail = String::from_utf8_lossy(&log[log.len().saturating_sub(LOG_TAIL)..]);
        let log = match tail.trim() {
            "" => String::new(),
            text => format!("; its log ends with:\n{text}"),
        };
        Error::Died {
            name: self.name,
            how,
            log,
        }
    }
}

/// The machine's process works in another folder.
fn with_absolute_paths(mut config: MachineConfig) -> Result<MachineConfig, Error> {
    let boot_files = [&mut config.kernel, &mut config.initrd, &mut config.firmware];
    let disks = config.disks.iter_mut().map(|disk| &mut disk.path);
    let folders = config.shares.iter_mut().map(|share| &mut share.folder);
    for path in boot_files.into_iter().flatten().chain(disks).chain(folders) {
        *path = std::path::absolute(&*path).map_err(Error::io("find the place of", &*path))?;
    }
    Ok(config)
}

fn seconds_since_1970() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |elapsed| elapsed.as_secs())
}
