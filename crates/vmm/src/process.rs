//! The machine's own process: builds the machine, runs it, and lives exactly as long as it does.
//!
//! The process that starts it hands it two folders and two open files: on standard input the
//! machine's lock, held for as long as this process lives, and on standard output a socket, its
//! first control connection ([`ControlServer::serve_owner`]). Standard error is the log of Clade
//! itself.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::backends::Backends;
use crate::boot_files::BootFiles;
use crate::console::{ConsoleHub, ConsoleLog, LogThread};
use crate::control::{ControlServer, SOCKET_FILE, StopSwitch, refuse};
use crate::folder::{LOCK_FILE, MachineFolder};
use crate::life::run_until_end;
use crate::machine::{Ended, Machine, MachineError};
use crate::outcome::{CLADE_FAILED, Outcome};
use crate::record::Recorder;
use crate::sandbox::{self, Permissions};
use crate::saved::Saved;
use crate::spec::{MachineConfig, MachineSpec, SPEC_FILE};
use crate::stats::MachineStats;

/// A guest that was asked to power off by a signal has this long to do so.
const GRACE: Duration = Duration::from_secs(20);

/// A stopped machine gives its remaining clients this long to take what waits for them.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs the machine whose folder this is, to its end, with its sockets in `sockets`. It goes on as it is
/// kept in the folder `saved`, if that is given. The calling process is the machine's from then on.
pub fn run(folder: &Path, sockets: &Path, saved: Option<&Path>) -> ExitCode {
    // Out of the reach of the terminal that started it: its Ctrl-C, its hang-up. Fails only for a
    // process that leads a group already, which one started by the manager does not.
    let _ = rustix::process::setsid();
    let owner = match take_owner() {
        Ok(owner) => owner,
        Err(error) => {
            eprintln!("standard output is no control connection: {error}");
            return ExitCode::from(CLADE_FAILED);
        }
    };
    let outcome = match Prepared::new(folder, sockets, saved) {
        Ok(prepared) => prepared.run(owner),
        Err(reason) => {
            refuse(owner, reason.clone());
            Outcome::Error(reason)
        }
    };
    ExitCode::from(outcome.exit_status())
}

/// The connection on standard output, which is then closed for all else.
fn take_owner() -> io::Result<UnixStream> {
    let owner = UnixStream::from(io::stdout().as_fd().try_clone_to_owned()?);
    owner.peer_addr()?;
    let nothing = File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(nothing)?;
    Ok(owner)
}

/// A machine that is built, and everything that its process opens.
struct Prepared {
    temporary: bool,
    /// It goes on from what its own folder has, as nothing else will from there.
    was_suspended: bool,
    config: MachineConfig,
    backends: Backends,
    hub: Arc<ConsoleHub>,
    log: ConsoleLog,
    listener: UnixListener,
    machine: Machine,
    signals: Signals,
    folder: MachineFolder,
    recorder: Recorder,
}

impl Prepared {
    fn new(path: &Path, sockets: &Path, saved: Option<&Path>) -> Result<Self, String> {
        let failed =
            |what: &str, error: io::Error| format!("cannot {what} in {}: {error}", path.display());
        let text =
            fs::read(path.join(SPEC_FILE)).map_err(|error| failed("read the spec", error))?;
        let mut spec: MachineSpec = serde_json::from_slice(&text)
            .map_err(|error| failed("understand the spec", error.into()))?;
        spec.config.resolve(path);
        fs::write(path.join(LOCK_FILE), process::id().to_string())
            .map_err(|error| failed("write the pid", error))?;
        let backends = Backends::open(&spec, sockets).map_err(|error| error.to_string())?;
        let (temporary, config) = (spec.temporary, spec.config);
        let hub = ConsoleHub::new();
        let ready = Arc::clone(&hub);
        backends.on_guest_ready(Arc::new(move || ready.guest_ready()));
        let was_suspended = saved.is_some_and(|saved| saved.starts_with(path));
        Ok(Self {
            temporary,
            was_suspended,
            log: ConsoleLog::open(path).map_err(|error| failed("make the console log", error))?,
            listener: UnixListener::bind(sockets.join(SOCKET_FILE))
                .map_err(|error| failed("make the control socket", error))?,
            signals: Signals::new([SIGTERM, SIGINT, SIGHUP])
                .map_err(|error| format!("cannot catch signals: {error}"))?,
            folder: MachineFolder::open(path, sockets).map_err(|error| failed("work", error))?,
            machine: match saved {
                Some(saved) => restore(&config, &backends, &hub, saved, saved != path)?,
                None => Machine::build(&config, &backends, Arc::clone(&hub) as _)
                    .map_err(|error| error.to_string())?,
            },
            recorder: Recorder::begin(path, sockets, !temporary)
                .map_err(|error| failed("record that the machine runs", error))?,
            config,
            backends,
            hub,
        })
    }

    fn run(self, owner: UnixStream) -> Outcome {
        let Self {
            temporary,
            was_suspended,
            config,
            backends,
            hub,
            log,
            listener,
            machine,
            signals,
            folder,
            recorder,
        } = self;
        let (_boot_files, config) = BootFiles::hold(&config);
        for lack in sandbox::enter(&Permissions::of(&config, folder.path(), folder.sockets())) {
            eprintln!("less confined than it could be: {lack}");
        }
        let stop = Arc::new(StopSwitch::new(Arc::clone(&hub)));
        let mut stats = MachineStats::default();
        let started = start_threads(&hub, &stop, log, listener, signals);
        let started = started.and_then(|(log, server)| {
            // Whoever resumes it may die after the mark was removed and before he says so.
            server.serve_owner(owner, || was_suspended && folder.goes_on_here_alone())?;
            Ok(log)
        });
        let outcome = match started {
            Ok(log) => {
                let outcome = boot_until_end(&config, &backends, &hub, &stop, machine, &mut stats);
                hub.end_log(log);
                outcome
            }
            Err(error) => Outcome::Error(format!("the machine's process cannot start: {error}")),
        };
        // Disks are closed before anybody else may open them.
        drop(backends);
        // And all this before anybody hears of the end: whoever does finds the machine free.
        if temporary && !folder.is_suspended() {
            folder.remove();
        } else {
            if let Err(error) = recorder.end(&outcome) {
                eprintln!("how the machine ended cannot be recorded: {error}");
            }
            folder.release();
        }
        hub.finish(&outcome, stats);
        hub.wait_drained(PATIENCE);
        outcome
    }
}

/// The machine as it is kept in `folder`: a `new` one, unless nothing else ever goes on from that state.
fn restore(
    config: &MachineConfig,
    backends: &Backends,
    hub: &Arc<ConsoleHub>,
    folder: &Path,
    new: bool,
) -> Result<Machine, String> {
    let Saved { state, memory } = Saved::open(folder)?;
    if state.guest_ready {
        hub.guest_ready();
    }
    let host = Arc::clone(hub) as _;
    let machine = Machine::restore(config, backends, host, &state.machine, &memory)
        .map_err(|error| format!("{error}; it is kept in {}", folder.display()))?;
    if new {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| format!("the host has no randomness: {error}"))?;
        machine.handle().renew_generation(id);
    }
    Ok(machine)
}

fn start_threads(
    hub: &Arc<ConsoleHub>,
    stop: &Arc<StopSwitch>,
    log: ConsoleLog,
    listener: UnixListener,
    mut signals: Signals,
) -> io::Result<(LogThread, Arc<ControlServer>)> {
    let log = hub.start_log(log)?;
    hub.start_input()?;
    let stop_on_signal = Arc::clone(stop);
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || end_on_signals(&stop_on_signal, &mut signals))?;
    let server = ControlServer::new(Arc::clone(hub), Arc::clone(stop));
    server.listen(listener)?;
    Ok((log, server))
}

/// A signal asks the guest to power off, as when the host goes down, if it has a driver to hear it.
/// Else, or if it takes too long, or at another signal, the machine is stopped.
fn end_on_signals(stop: &Arc<StopSwitch>, signals: &mut Signals) {
    let mut asked = false;
    for _ in signals.forever() {
        if asked || !stop.press_power_button() {
            stop.stop();
            continue;
        }
        asked = true;
        let late = Arc::clone(stop);
        let patience = thread::Builder::new()
            .name("patience".into())
            .spawn(move || {
                thread::sleep(GRACE);
                late.stop();
            });
        if patience.is_err() {
            stop.stop();
        }
    }
}

fn boot_until_end(
    config: &MachineConfig,
    backends: &Backends,
    hub: &Arc<ConsoleHub>,
    stop: &StopSwitch,
    machine: Machine,
    stats: &mut MachineStats,
) -> Outcome {
    let mut built = Some(machine);
    let boot = || -> Result<Ended, MachineError> {
        let machine = match built.take() {
            Some(machine) => machine,
            None => Machine::build(config, backends, Arc::clone(hub) as _)?,
        };
        hub.connect(machine.handle().console());
        stop.arm(machine.handle());
        let finished = machine.run_then(|| hub.guest_ended());
        stop.disarm();
        let finished = finished?;
        *stats += finished.stats;
        Ok(finished.how)
    };
    run_until_end(hub, stop, boot)
}
