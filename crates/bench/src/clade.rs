//! A guest under Clade, in this process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clade_devices::{ConsoleHost, ConsolePort};
use clade_vmm::backends::Backends;
use clade_vmm::machine::{Machine, MachineHandle};
use clade_vmm::spec::{
    DiskSpec, Interrupts, MachineConfig, MachineSpec, NetworkSpec, OutsideSpec, ShareSpec, Tier,
};

use tempfile::TempDir;

use crate::guest::{Boot, Devices, Guest, SHARE_TAG};
use crate::terminal::Transcript;

/// What the guest's console prints on.
struct Screen {
    transcript: Transcript,
    room: Sender<()>,
}

impl ConsoleHost for Screen {
    fn output(&self, bytes: &[u8]) {
        self.transcript.push(bytes);
    }

    fn input_room(&self) {
        let _ = self.room.send(());
    }
}

/// A machine that runs on a thread of its own.
pub(crate) struct CladeGuest {
    screen: Arc<Screen>,
    port: Arc<dyn ConsolePort>,
    room: Receiver<()>,
    stop: MachineHandle,
    thread: Option<JoinHandle<()>>,
    /// What the machine keeps on the host while it runs.
    _folder: TempDir,
}

/// Starts a machine.
pub(crate) fn start(
    tier: Tier,
    interrupts: Interrupts,
    boot: &Boot<'_>,
) -> Result<Box<dyn Guest>, String> {
    let (room, room_receiver) = channel();
    let screen = Arc::new(Screen {
        transcript: Transcript::default(),
        room,
    });
    let config = MachineConfig {
        engine: boot.board.engine(),
        tier,
        interrupts,
        cpus: boot.cpus,
        memory: boot.memory,
        kernel: Some(boot.kernel.into()),
        initrd: Some(boot.initrd.into()),
        cmdline: boot.cmdline.into(),
        ..with_devices(&boot.devices)
    };
    let spec = MachineSpec {
        id: "benchmark".into(),
        name: "benchmark".into(),
        image: None,
        origin: None,
        mac: None,
        unsettled: None,
        created: 0,
        temporary: true,
        config,
    };
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let backends = Backends::open(&spec, folder.path()).map_err(|error| error.to_string())?;
    let machine = Machine::build(&spec.config, &backends, screen.clone())
        .map_err(|error| error.to_string())?;
    let stop = machine.handle();
    let port = stop.console();
    let console = screen.clone();
    let thread = thread::spawn(move || {
        if let Err(error) = machine.run() {
            eprintln!("clade-bench: {error}");
        }
        console.transcript.end();
    });
    Ok(Box::new(CladeGuest {
        screen,
        port,
        room: room_receiver,
        stop,
        thread: Some(thread),
        _folder: folder,
    }))
}

fn with_devices(devices: &Devices<'_>) -> MachineConfig {
    let disk = |path: &Path| DiskSpec {
        path: path.into(),
        ..DiskSpec::default()
    };
    let share = |folder: &Path| ShareSpec {
        folder: folder.into(),
        tag: SHARE_TAG.into(),
        ..ShareSpec::default()
    };
    let network = match devices.network {
        true => NetworkSpec::User(OutsideSpec::default()),
        false => NetworkSpec::None,
    };
    MachineConfig {
        network,
        disks: devices.disk.map(disk).into_iter().collect(),
        shares: devices.share.map(share).into_iter().collect(),
        ..MachineConfig::default()
    }
}

impl Guest for CladeGuest {
    fn type_text(&mut self, text: &str) -> Result<(), String> {
        let mut rest = text.as_bytes();
        loop {
            rest = &rest[self.port.input(rest)..];
            if rest.is_empty() {
                return Ok(());
            }
            self.room
                .recv_timeout(Duration::from_secs(60))
                .map_err(|_| "the guest does not take what is typed".to_owned())?;
        }
    }

    fn transcript(&self) -> &Transcript {
        &self.screen.transcript
    }

    fn processes(&self) -> Vec<u32> {
        vec![std::process::id()]
    }
}

impl Drop for CladeGuest {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The command `clade` that was built with this one.
pub(crate) fn command() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let clade = own.parent().unwrap_or(Path::new("")).join("clade");
    match clade.is_file() {
        true => Ok(clade),
        false => Err("there is no `clade` beside this: `cargo build --release -p clade`".into()),
    }
}
