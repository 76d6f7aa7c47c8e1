//! The `virt` board: QEMU's, so that stock kernels and firmware find everything where they expect.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use clade_devices::pci::{PciError, PciHost};
use clade_devices::syscon::SystemEventSink;
use clade_devices::virtio::{PowerButton, VirtioBalloon, VirtioMmio, VirtioPci};
use clade_devices::{
    Bus, BusBuilder, ConsoleHost, ConsolePort, Flash, Overlap, Rtc, StateError, Syscon, Uart,
    VmGenId,
};
use clade_emulate::{
    AIA_EXTENSIONS, Boot, CACHE_BLOCK, Clint, Emulator, EmulatorConfig, ISA_EXTENSIONS, Stats,
    Tuning, translator_support,
};
use clade_engine::{Engine, GuestRam, IoBus, IoDevice, Unmapped};

use super::clock::HostClock;
use super::console::{Console, ConsoleMux, FirmwareConsole};
use super::flash::FlashError;
use super::interrupts::InterruptControllers;
use super::peripherals::{self, Parts};
use super::rom::{Rom, dynamic_information};
use super::state::BoardState;
use super::timers::{self, Alarm};
use super::{generation, map, ram};
use crate::backends::Backends;
use crate::fdt::{self, FdtConfig, FdtError};
use crate::gate::Gate;
use crate::io_thread::IoTask;
use crate::loader::{self, BootFiles, LoadError, Placement, Source};
use crate::saved_memory::SavedMemory;
use crate::spec::{Interrupts, MachineConfig, Tier};

/// Why a board cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// A file that the machine starts from.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The device tree.
    #[error(transparent)]
    DeviceTree(#[from] FdtError),
    /// The flash.
    #[error(transparent)]
    Flash(#[from] FlashError),
    /// Guest memory.
    #[error(
        "the host gives no {mib} MiB of memory for the guest: {reason}; ask for less with --memory"
    )]
    Memory {
        /// How much was asked for, in MiB.
        mib: u64,
        /// The host's answer.
        reason: String,
    },
    /// The translator was asked for, and the host cannot have one.
    #[error(
        "this host cannot translate guest code; it lacks {0}\n\
         `--tier auto` runs the machine by interpretation."
    )]
    Translator(String),
    /// A saved state that this board cannot take.
    #[error("the saved state cannot be used: {0}")]
    State(String),
    /// Two devices in one place: a mistake in the board.
    #[error("the board is wired wrongly: {0}")]
    Wiring(String),
    /// Something of the host.
    #[error("the host refused {what}: {source}")]
    Host {
        /// What was asked of the host.
        what: String,
        /// Its answer.
        source: io::Error,
    },
}

impl From<Overlap> for BoardError {
    fn from(overlap: Overlap) -> Self {
        Self::Wiring(overlap.to_string())
    }
}

impl From<StateError> for BoardError {
    fn from(error: StateError) -> Self {
        Self::State(error.to_string())
    }
}

impl From<PciError> for BoardError {
    fn from(error: PciError) -> Self {
        Self::Wiring(error.to_string())
    }
}

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
    engine: Emulator,
    console: Arc<ConsoleMux>,
    power_button: Arc<PowerButton>,
    balloon: Arc<VirtioBalloon>,
    alarm: Arc<Alarm>,
    pub(super) ram: Arc<GuestRam>,
    memory_size: u64,
    pub(super) clock: Arc<HostClock>,
    pub(super) interrupts: InterruptControllers,
    pub(super) rom: Option<Vec<u8>>,
    pub(super) rtc: Arc<Rtc>,
    pub(super) uart: Arc<Uart>,
    pub(super) generation: Arc<VmGenId>,
    pub(super) flash: Option<Arc<Flash>>,
    pub(super) pci: Arc<PciHost>,
    pub(super) functions: BTreeMap<u8, Arc<VirtioPci>>,
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
        let no_memory = |reason| BoardError::Memory {
            mib: config.memory >> 20,
            reason,
        };
        let ram = ram::allocate(config.memory, backends.flash.is_some()).map_err(no_memory)?;
        let start = match origin {
            Origin::PowerOn => {
                if let Some(flash) = &backends.flash {
                    flash.load_code(&ram)?;
                }
                Start::of_loaded(&load(config, &ram)?)
            }
            Origin::Saved(saved, memory) => {
                memory.map_into(&ram).map_err(no_memory)?;
                Start::of_saved(config, saved)
            }
        };
        let ram = Arc::new(ram);

        let clock = Arc::new(HostClock::stopped_at(match origin {
            Origin::PowerOn => 0,
            Origin::Saved(saved, _) => saved.clock_ns,
        }));
        let bus = Arc::new(LateBus::default());
        let console = ConsoleMux::new(host.clone());
        let engine = Emulator::new(EmulatorConfig {
            harts: config.cpus,
            ram: ram.clone(),
            bus: bus.clone(),
            clock: clock.clone(),
            boot: start.boot(host),
            imsic: config.interrupts == Interrupts::Aia,
            tuning: tuning(config.tier),
        });
        check_tier(config.tier, engine.tier())?;
        let mut devices = BusBuilder::new();
        let interrupts = InterruptControllers::plug(
            config.interrupts,
            start.machine_mode,
            &engine,
            config.cpus,
            &mut devices,
        )?;
        let alarm = Arc::new(Alarm::default());
        let rearm = alarm.clone();
        let rtc = Rtc::new(
            clock.clone(),
            interrupts.wire(map::RTC_IRQ)?,
            Arc::new(move || rearm.rearm()),
        );
        let uart = Uart::new(
            interrupts.wire(map::UART0_IRQ)?,
            console.host_of(Console::Uart),
        );
        console.connect(Console::Uart, uart.clone());

        if let Some(rom) = &start.rom {
            let rom = Arc::new(Rom(rom.clone()));
            insert(&mut devices, "boot ROM", map::BOOT_ROM, rom)?;
        }
        insert(
            &mut devices,
            "test finisher",
            map::TEST,
            Syscon::new(events),
        )?;
        insert(&mut devices, "RTC", map::RTC, rtc.clone())?;
        insert(&mut devices, "CLINT", map::CLINT, engine.clint())?;
        insert(&mut devices, "UART", map::UART0, uart.clone())?;
        let generation = generation::plug(&mut devices, &interrupts)?;
        let flash = backends.flash.as_ref();
        let flash = flash.map(|files| files.variables()).transpose()?;
        if let Some(flash) = &flash {
            insert(&mut devices, "flash", map::FLASH_VARIABLES, flash.clone())?;
        }
        for slot in 0..map::VIRTIO_MMIO_SLOTS {
            insert(
                &mut devices,
                "virtio-mmio",
                map::virtio_mmio(slot),
                VirtioMmio::empty(),
            )?;
        }
        let power_button = PowerButton::new();
        let parts = Parts {
            config,
            backends,
            ram: &ram,
            console: &console,
            power_button: &power_button,
        };
        let plugged = peripherals::plug(&mut devices, &interrupts, &parts)?;
        bus.complete(devices.build());
        let board = Self {
            engine,
            console,
            power_button,
            balloon: plugged.balloon,
            alarm,
            ram,
            memory_size: config.memory,
            clock,
            interrupts,
            rom: start.rom,
            rtc,
            uart,
            generation,
            flash,
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
        &self.engine
    }

    /// What the engine counted up to now.
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    /// The way to type at the guest.
    pub fn console(&self) -> Arc<dyn ConsolePort> {
        self.console.clone()
    }

    pub(super) fn console_mux(&self) -> &ConsoleMux {
        &self.console
    }

    /// Guest memory.
    pub fn ram(&self) -> &Arc<GuestRam> {
        &self.ram
    }

    /// The button by which the guest is asked to power off.
    pub fn power_button(&self) -> Arc<PowerButton> {
        self.power_button.clone()
    }

    /// Lets the machine's time pass; a new board's does not.
    pub(crate) fn start_clock(&self) {
        self.clock.start();
    }

    /// Stops the machine's time. Wants a board at rest.
    pub(crate) fn stop_clock(&self) {
        self.clock.stop();
    }

    /// Size of guest memory in bytes, flash not counted.
    pub fn memory_size(&self) -> u64 {
        self.memory_size
    }

    /// What takes memory that the guest does not need.
    pub fn balloon(&self) -> Arc<VirtioBalloon> {
        self.balloon.clone()
    }

    /// Starts the thread on which alarms go off, inside of `gate`. It ends with
    /// [`Board::stop_timers`].
    ///
    /// # Errors
    /// When the host gives no thread.
    pub(crate) fn start_timers(&self, gate: Arc<Gate>) -> io::Result<JoinHandle<()>> {
        timers::start(
            self.alarm.clone(),
            self.clock.clone(),
            self.rtc.clone(),
            gate,
        )
    }

    /// Ends the thread on which alarms go off.
    pub fn stop_timers(&self) {
        self.alarm.end();
    }
}

/// How the engine is to go about its work.
fn tuning(tier: Tier) -> Tuning {
    let tier = match tier {
        Tier::Auto => clade_emulate::Tier::best(),
        Tier::Interpreter => clade_emulate::Tier::Interpreter,
        Tier::Translator => clade_emulate::Tier::Translator,
    };
    Tuning {
        tier,
        ..Tuning::default()
    }
}

/// Refuses less than what was asked for.
fn check_tier(wanted: Tier, used: clade_emulate::Tier) -> Result<(), BoardError> {
    if wanted != Tier::Translator || used == clade_emulate::Tier::Translator {
        return Ok(());
    }
    let lacks = translator_support().err();
    Err(BoardError::Translator(lacks.map_or_else(
        || "address space for the code".to_owned(),
        |lacks| lacks.join(", "),
    )))
}

/// Loads the guest's files and the device tree that describes the board to it.
fn load(config: &MachineConfig, ram: &GuestRam) -> Result<Placement, BoardError> {
    let open = |path: &std::path::PathBuf| Source::open(path, config.memory);
    let files = BootFiles {
        firmware: config.firmware.as_ref().map(open).transpose()?,
        kernel: config.kernel.as_ref().map(open).transpose()?,
        initrd: config.initrd.as_ref().map(open).transpose()?,
        in_place: config.flash.as_ref().map(|_| map::FLASH.base),
    };
    let placement = loader::load(files, ram)?;
    let tree = fdt::build(&FdtConfig {
        harts: config.cpus,
        ram: map::RAM_BASE..map::RAM_BASE + config.memory,
        isa_extensions: isa_extensions(config.interrupts),
        mmu_type: "riscv,sv57".into(),
        cache_block_size: CACHE_BLOCK as u32,
        interrupts: config.interrupts,
        machine_mode: placement.firmware.is_some(),
        flash: config.flash.is_some(),
        virtio_mmio_slots: map::VIRTIO_MMIO_SLOTS,
        bootargs: config.cmdline.clone(),
        initrd: placement.initrd.clone(),
        rng_seed: random::<64>()?.to_vec(),
    })?;
    placement.write_device_tree(ram, &tree)?;
    Ok(placement)
}

/// The extensions of the harts: single letters first, then by letter as the names begin.
fn isa_extensions(interrupts: Interrupts) -> Vec<String> {
    let aia: &[&str] = match interrupts {
        Interrupts::Plic => &[],
        Interrupts::Aia => AIA_EXTENSIONS,
    };
    let is_privileged = |name: &&str| name.len() > 1 && name.starts_with('s');
    let all = ISA_EXTENSIONS.iter().chain(aia).copied();
    let (mut privileged, rest): (Vec<_>, Vec<_>) = all.partition(is_privileged);
    privileged.sort_unstable();
    let names = rest.into_iter().chain(privileged);
    names.map(str::to_owned).collect()
}

/// Fresh random bytes.
pub(super) fn random<const N: usize>() -> Result<[u8; N], BoardError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| BoardError::Host {
        what: "random bytes".to_owned(),
        source: error.into(),
    })?;
    Ok(bytes)
}

/// Where the harts begin, and what stands in the boot ROM.
struct Start {
    /// In firmware of the guest's own, and not above the built-in SBI.
    machine_mode: bool,
    entry: u64,
    device_tree: u64,
    rom: Option<Vec<u8>>,
}

impl Start {
    fn of_loaded(placement: &Placement) -> Self {
        Self {
            machine_mode: placement.firmware.is_some(),
            entry: placement.entry,
            device_tree: placement.dtb.start,
            rom: placement.next.map(dynamic_information),
        }
    }

    /// The harts are restored afterwards: they begin nowhere.
    fn of_saved(config: &MachineConfig, saved: &BoardState) -> Self {
        Self {
            machine_mode: config.firmware.is_some(),
            entry: 0,
            device_tree: 0,
            rom: saved.rom.clone(),
        }
    }

    fn boot(&self, host: Arc<dyn ConsoleHost>) -> Boot {
        let (entry, device_tree) = (self.entry, self.device_tree);
        if !self.machine_mode {
            let console = Arc::new(FirmwareConsole(host));
            return Boot::Supervisor {
                entry,
                device_tree,
                console,
            };
        }
        let information = self.rom.as_ref().map_or(0, |_| map::BOOT_ROM.base);
        Boot::Machine {
            entry,
            device_tree,
            information,
        }
    }
}

pub(super) fn insert(
    devices: &mut BusBuilder,
    name: &'static str,
    window: map::Window,
    device: Arc<dyn IoDevice>,
) -> Result<(), BoardError> {
    devices.insert(name, window.base, window.size, device)?;
    Ok(())
}

/// A bus that is known before its devices are: the engine is given it, and some devices are the
/// engine's.
#[derive(Default)]
struct LateBus(OnceLock<Bus>);

impl LateBus {
    fn complete(&self, bus: Bus) {
        // Called once, by `Board::build`.
        let _ = self.0.set(bus);
    }
}

impl IoBus for LateBus {
    fn read(&self, address: u64, data: &mut [u8]) -> Result<(), Unmapped> {
        self.0
            .get()
            .ok_or(Unmapped { address })?
            .read(address, data)
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), Unmapped> {
        self.0
            .get()
            .ok_or(Unmapped { address })?
            .write(address, data)
    }
}

const _: () = assert!(Clint::SIZE == map::CLINT.size);
const _: () = assert!(clade_emulate::TIMEBASE_HZ == map::TIMEBASE_HZ as u64);
