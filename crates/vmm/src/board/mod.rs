//! The board: what devices there are, where, and how they are wired.
//!
//! What every board has is here; `virt` has what only RISC-V's has, `pc` what only x86-64's.

mod clock;
mod console;
mod entropy;
mod error;
mod flash;
mod late_bus;
#[cfg(target_arch = "x86_64")]
pub mod pc;
mod peripherals;
mod platform;
mod ram;
mod state;
mod timers;
pub mod virt;
mod window;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use clade_devices::pci::PciHost;
use clade_devices::syscon::SystemEventSink;
use clade_devices::virtio::{PowerButton, VirtioBalloon, VirtioPci};
use clade_devices::{ConsoleHost, ConsolePort, Uart};
use clade_emulate::Stats;
use clade_engine::{Engine, EngineError, GuestRam};

use crate::backends::Backends;
use crate::gate::Gate;
use crate::io_thread::IoTask;
use crate::saved_memory::SavedMemory;
use crate::spec::{EngineKind, MachineConfig};

use clock::HostClock;
use console::ConsoleMux;
use peripherals::Parts;
use platform::{Basics, Built, Platform};
use timers::Alarm;

pub use error::BoardError;
pub use flash::{FlashError, FlashFiles};
pub use state::{BoardState, PlatformState};
pub use window::Window;

/// How a board begins.
#[derive(Debug, Clone, Copy)]
pub enum Origin<'a> {
    /// Switched on: it loads the files that its guest boots from.
    PowerOn,
    /// As it was left.
    Saved(&'a BoardState, &'a SavedMemory),
}

/// A machine's hardware, guest loaded, ready to run.
pub struct Board {
    platform: Box<dyn Platform>,
    console: Arc<ConsoleMux>,
    power_button: Arc<PowerButton>,
    balloon: Arc<VirtioBalloon>,
    alarm: Arc<Alarm>,
    ram: Arc<GuestRam>,
    memory_size: u64,
    clock: Arc<HostClock>,
    uart: Arc<Uart>,
    pci: Arc<PciHost>,
    functions: BTreeMap<u8, Arc<VirtioPci>>,
}

impl Board {
    /// Builds the board over `backends`, as `origin` says. Also returns the work that is to be done for
    /// devices, by threads that are still to be started. What the guest asks of the machine by way of the
    /// system controller goes to `events`; its consoles print on `host`.
    ///
    /// # Errors
    /// When a file cannot be loaded or the host lacks something.
    pub fn build(
        config: &MachineConfig,
        backends: &Backends,
        host: Arc<dyn ConsoleHost>,
        events: SystemEventSink,
        origin: Origin<'_>,
    ) -> Result<(Self, Vec<IoTask>), BoardError> {
        let basics = Basics {
            config,
            backends,
            ram: Arc::new(memory(config, backends, origin)?),
            clock: Arc::new(HostClock::stopped_at(match origin {
                Origin::PowerOn => 0,
                Origin::Saved(saved, _) => saved.clock_ns,
            })),
            console: ConsoleMux::new(host.clone()),
            host,
            alarm: Arc::default(),
            events,
            origin,
        };
        let Built {
            platform,
            uart,
            bus,
            mut devices,
            ports,
            pci,
            pci_layout,
        } = match config.engine {
            EngineKind::Emulate => virt::build(&basics)?,
            #[cfg(target_arch = "x86_64")]
            EngineKind::Kvm => pc::build(&basics)?,
            #[cfg(not(target_arch = "x86_64"))]
            EngineKind::Kvm => return Err(BoardError::NoKvm),
        };
        let pci = match platform.engine().doorbells() {
            Some(doorbells) => pci.with_doorbells(doorbells),
            None => pci,
        };
        let power_button = PowerButton::new();
        let parts = Parts {
            config,
            backends,
            ram: &basics.ram,
            console: &basics.console,
            power_button: &power_button,
        };
        let plugged = peripherals::plug(pci, &parts)?;
        plugged.pci.map(&mut devices, &pci_layout)?;
        bus.complete(devices.build());
        if let Some((bus, mut devices)) = ports {
            plugged.pci.map_ports(&mut devices)?;
            bus.complete(devices.build());
        }
        let board = Self {
            platform,
            console: basics.console,
            power_button,
            balloon: plugged.balloon,
            alarm: basics.alarm,
            ram: basics.ram,
            memory_size: config.memory,
            clock: basics.clock,
            uart,
            pci: plugged.pci,
            functions: plugged.functions,
        };
        if let Origin::Saved(saved, _) = origin {
            board.restore(saved)?;
        }
        Ok((board, plugged.tasks))
    }

    /// The engine that runs the board's vCPUs.
    pub fn engine(&self) -> &dyn Engine {
        self.platform.engine()
    }

    /// What the engine counted up to now.
    pub fn stats(&self) -> Stats {
        self.platform.stats()
    }

    /// The way to type at the guest.
    pub fn console(&self) -> Arc<dyn ConsolePort> {
        self.console.clone()
    }

    /// Guest memory.
    pub fn ram(&self) -> &Arc<GuestRam> {
        &self.ram
    }

    /// Presses the button by which the guest is asked to power off: the keyboard that all boards have, or
    /// else the platform's. Returns whether it took note.
    pub(crate) fn press_power_button(&self) -> bool {
        self.power_button.press() || self.platform.press_power_button()
    }

    /// Tells the guest that from now on it is the machine `id`, so that it draws its random numbers
    /// anew. On a board that is restored this wants restored vCPUs.
    pub(crate) fn renew_generation(&self, id: [u8; 16]) {
        self.platform.renew_generation(id);
    }

    /// Lets the machine's time pass; a new board's does not. Wants a board at rest.
    ///
    /// # Errors
    /// When the engine cannot.
    pub(crate) fn start_clock(&self) -> Result<(), EngineError> {
        self.clock.start();
        self.platform.start_clock()
    }

    /// Stops the machine's time. Wants a board at rest.
    ///
    /// # Errors
    /// When the engine cannot.
    pub(crate) fn stop_clock(&self) -> Result<(), EngineError> {
        self.clock.stop();
        self.platform.stop_clock()
    }

    /// Size of guest memory in bytes, flash not counted.
    pub fn memory_size(&self) -> u64 {
        self.memory_size
    }

    /// What takes memory that the guest does not need.
    pub fn balloon(&self) -> Arc<VirtioBalloon> {
        self.balloon.clone()
    }

    /// Starts the thread on which alarms go off, inside of `gate`, if there are any. It ends with
    /// [`Board::stop_timers`].
    ///
    /// # Errors
    /// When the host gives no thread.
    pub(crate) fn start_timers(&self, gate: Arc<Gate>) -> io::Result<Option<JoinHandle<()>>> {
        let Some(rtc) = self.platform.alarm_clock() else {
            return Ok(None);
        };
        timers::start(self.alarm.clone(), self.clock.clone(), rtc, gate).map(Some)
    }

    /// Ends the thread on which alarms go off.
    pub fn stop_timers(&self) {
        self.alarm.end();
    }
}

/// Guest memory, empty or as it was saved.
fn memory(
    config: &MachineConfig,
    backends: &Backends,
    origin: Origin<'_>,
) -> Result<GuestRam, BoardError> {
    let refused = |reason| BoardError::Memory {
        mib: config.memory >> 20,
        reason,
    };
    let windows = match config.engine {
        EngineKind::Emulate => virt::memory(config.memory, backends.flash.is_some()),
        #[cfg(target_arch = "x86_64")]
        EngineKind::Kvm => pc::memory(config.memory, backends.flash.as_ref()),
        #[cfg(not(target_arch = "x86_64"))]
        EngineKind::Kvm => return Err(BoardError::NoKvm),
    };
    let ram = ram::allocate(&windows).map_err(refused)?;
    if let Origin::Saved(_, memory) = origin {
        memory.map_into(&ram).map_err(refused)?;
    }
    Ok(ram)
}

/// Fresh random bytes.
fn random<const N: usize>() -> Result<[u8; N], BoardError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| BoardError::Host {
        what: "random bytes".to_owned(),
        source: error.into(),
    })?;
    Ok(bytes)
}
