//! Starting a machine's process.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use clade_net::Forward;
use clade_vmm::control::{Connection, Event, FromMachine, SOCKET_FILE};
use clade_vmm::folder::MACHINE_LOG_FILE;
use clade_vmm::network::read_forwards;
use clade_vmm::spec::MachineSpec;

use crate::branch::finish_restoration;
use crate::create::check_host;
use crate::machines::{clear, write_spec};
use crate::state::LockState;
use crate::{Error, Machine, Machines, State};

/// How much of a dead process's log is shown, in bytes.
const LOG_TAIL: usize = 2000;

/// No socket's path is longer, in bytes: `sun_path` of unix(7), without its end.
const SOCKET_PATH_MAX: usize = 107;

/// The longest name of a socket that every machine may have: `vsock.sock_` and a port.
const SOCKET_NAME_MAX: usize = "vsock.sock_4294967295".len();

/// A machine that was started.
#[derive(Debug)]
pub struct Started {
    /// What it is.
    pub spec: MachineSpec,
    /// The folder of its sockets.
    sockets: PathBuf,
    process: Process,
}

impl Machine {
    /// Starts a machine that does not run, as [`crate::Draft::start`] does a new one. `prepare` may
    /// change what the machine is from now on.
    ///
    /// # Errors
    /// [`Error::AlreadyRunning`] and [`Error::Paused`] if it runs, [`Error::NotRunning`] if it is
    /// suspended, [`Error::NotFound`] if it was removed, and [`Error::Refused`] if it cannot be built;
    /// then it stays as it is.
    pub fn start(
        &self,
        program: Command,
        prepare: impl FnOnce(&mut MachineSpec),
    ) -> Result<(Started, Connection), Error> {
        let (mut now, lock) = self.take_to_start().map_err(|error| match error {
            Error::AlreadyRunning { .. } => self.check_awake().err().unwrap_or(error),
            other => other,
        })?;
        if now.state.is_suspended() {
            return Err(now.not_running());
        }
        let before = now.spec.clone();
        prepare(&mut now.spec);
        if now.spec != before {
            write_spec(&now.folder, &now.spec)?;
        }
        now.forget_suspended()?;
        now.clear_unneeded(&now.spec, &[])?;
        now.merge_layers();
        launch(&self.machines, &now.spec, &now.folder, lock, program, None)
    }

    /// The machine, which does not run, and its lock: nobody else can start it.
    pub(crate) fn take_to_start(&self) -> Result<(Machine, File), Error> {
        let _all = self.machines.lock()?;
        let find = || self.machines.again_locked(self)?.ok_or_else(|| self.gone());
        let mut now = find()?;
        match self.machines.claim(&now.folder)? {
            Some(lock) => {
                // Its process may have ended since it was looked at.
                if now.state.is_live() {
                    finish_restoration(&now.folder)?;
                    now = find()?;
                }
                check_host(&now.spec.config)?;
                // Who writes here has the lock of all machines, or this one.
                clade_store::clear_staged(&now.folder)?;
                now.state = State::of(&now.folder, LockState::Free, now.record.as_ref());
                Ok((now, lock))
            }
            None => Err(Error::AlreadyRunning {
                name: now.spec.name,
            }),
        }
    }
}

/// Starts the process of a machine whose lock the caller has; it goes on from what is kept in the folder
/// `saved`, or boots.
pub(crate) fn launch(
    machines: &Machines,
    spec: &MachineSpec,
    folder: &Path,
    lock: File,
    mut program: Command,
    saved: Option<&Path>,
) -> Result<(Started, Connection), Error> {
    let sockets = machines.sockets(&spec.id);
    check_length(&sockets, spec)?;
    clear(&sockets)?;
    clade_store::private_folder(&sockets)?;
    let (ours, theirs) = UnixStream::pair().map_err(Error::io("connect to", folder))?;
    let log = folder.join(MACHINE_LOG_FILE);
    let log = File::create(&log).map_err(Error::io("create", log))?;
    program
        .args([folder, &sockets])
        .args(saved)
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
        Ok(Some(FromMachine::Event(Event::Ready))) => {
            let spec = spec.clone();
            let sockets = sockets.clone();
            Ok((
                Started {
                    spec,
                    sockets,
                    process,
                },
                connection,
            ))
        }
        Ok(Some(FromMachine::Event(Event::Refused { reason }))) => {
            process.wait();
            clear(&sockets)?;
            Err(Error::Refused(reason))
        }
        _ => Err(process.into_death()),
    }
}

fn check_length(sockets: &Path, spec: &MachineSpec) -> Result<(), Error> {
    let ports = spec
        .config
        .ports
        .iter()
        .map(|port| port.socket_file().len());
    let name = ports.fold(SOCKET_NAME_MAX.max(SOCKET_FILE.len()), usize::max);
    if sockets.as_os_str().len() + 1 + name <= SOCKET_PATH_MAX {
        return Ok(());
    }
    Err(Error::SocketPath {
        folder: sockets.to_owned(),
    })
}

impl Started {
    /// The ports of this host that lead to the machine, as they are open.
    pub fn forwards(&self) -> Vec<Forward> {
        read_forwards(&self.sockets)
    }

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
