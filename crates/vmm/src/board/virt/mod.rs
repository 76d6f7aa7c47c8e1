//! The `virt` board: QEMU's, so that stock kernels and firmware find everything where they expect.

mod interrupts;
pub mod map;
mod rom;
mod start;
mod state;

use std::sync::Arc;

use clade_devices::flash::Geometry;
use clade_devices::pci::{PciHostBuilder, PciLayout};
use clade_devices::virtio::VirtioMmio;
use clade_devices::{BusBuilder, Flash, Rtc, Syscon, Uart, VmGenId};
use clade_emulate::{Clint, Emulator, EmulatorConfig, Stats, Tuning, translator_support};
use clade_engine::{Engine, EngineError};

use super::console::Console;
use super::late_bus::LateBus;
use super::platform::{Basics, Built, Platform};
use super::state::PlatformState;
use super::{BoardError, Origin, Window, random};
use crate::spec::{Interrupts, Tier};

use interrupts::InterruptControllers;
use rom::Rom;
use start::Start;

pub use state::{VirtState, WiresState};

/// Where `size` bytes of guest memory are, and memory for the flash that holds code if `flash` says so.
pub(super) fn memory(size: u64, flash: bool) -> Vec<Window> {
    let ram = Window::new(map::RAM_BASE, size);
    flash
        .then_some(map::FLASH)
        .into_iter()
        .chain([ram])
        .collect()
}

/// What only this board has.
struct Virt {
    engine: Emulator,
    interrupts: InterruptControllers,
    rom: Option<Vec<u8>>,
    rtc: Arc<Rtc>,
    generation: Arc<VmGenId>,
    flash: Option<Arc<Flash>>,
}

/// Builds it, with the guest loaded if it is switched on.
pub(super) fn build(basics: &Basics<'_>) -> Result<Built, BoardError> {
    let Basics { config, clock, .. } = basics;
    let flash_files = basics.backends.flash.as_ref();
    let start = match basics.origin {
        Origin::PowerOn => {
            if let Some(flash) = flash_files {
                flash.load_code(&basics.ram, map::FLASH.base)?;
            }
            Start::of_loaded(&start::load(config, &basics.ram)?)
        }
        Origin::Saved(saved, _) => Start::of_saved(config, VirtState::of(&saved.platform)?),
    };
    let bus = Arc::new(LateBus::default());
    let engine = Emulator::new(EmulatorConfig {
        harts: config.cpus,
        ram: basics.ram.clone(),
        bus: bus.clone(),
        clock: clock.clone(),
        boot: start.boot(basics.host.clone()),
        imsic: config.interrupts == Interrupts::Aia,
        tuning: tuning(config.tier),
        code_cache: match basics.origin {
            Origin::PowerOn => None,
            Origin::Saved(_, memory) => memory.code_cache().and_then(|file| file.try_clone().ok()),
        },
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
    let alarm = basics.alarm.clone();
    let rtc = Rtc::new(
        clock.clone(),
        interrupts.wire(map::RTC_IRQ)?,
        Arc::new(move || alarm.rearm()),
    );
    let uart = Uart::new(
        interrupts.wire(map::UART0_IRQ)?,
        basics.console.host_of(Console::Uart),
    );
    basics.console.connect(Console::Uart, uart.clone());
    let generation = VmGenId::new(interrupts.wire(map::VMGENID_IRQ)?, random()?);
    let flash = flash_files.map(|files| files.variables(Geometry::PAIR));
    let flash = flash.transpose()?;

    if let Some(rom) = &start.rom {
        let rom = Arc::new(Rom(rom.clone()));
        map::BOOT_ROM.insert(&mut devices, "boot ROM", rom)?;
    }
    let finisher = Syscon::new(basics.events.clone());
    map::TEST.insert(&mut devices, "test finisher", finisher)?;
    map::RTC.insert(&mut devices, "RTC", rtc.clone())?;
    map::CLINT.insert(&mut devices, "CLINT", engine.clint())?;
    map::UART0.insert(&mut devices, "UART", uart.clone())?;
    map::VMGENID.insert(&mut devices, "VM generation ID", generation.clone())?;
    if let Some(flash) = &flash {
        map::FLASH_VARIABLES.insert(&mut devices, "flash", flash.clone())?;
    }
    for slot in 0..map::VIRTIO_MMIO_SLOTS {
        map::virtio_mmio(slot).insert(&mut devices, "virtio-mmio", VirtioMmio::empty())?;
    }
    let irq = |pin| interrupts.wire(map::PCIE_IRQ_BASE + pin);
    let mut pci = PciHostBuilder::new([irq(0)?, irq(1)?, irq(2)?, irq(3)?]);
    if let Some(messages) = interrupts.messages() {
        pci = pci.with_messages(messages);
    }
    Ok(Built {
        platform: Box::new(Virt {
            engine,
            interrupts,
            rom: start.rom,
            rtc,
            generation,
            flash,
        }),
        uart,
        bus,
        devices,
        ports: None,
        pci,
        pci_layout: PciLayout::VIRT,
    })
}

impl Platform for Virt {
    fn engine(&self) -> &dyn Engine {
        &self.engine
    }

    fn save(&self) -> Result<PlatformState, EngineError> {
        Ok(PlatformState::Virt(VirtState {
            rom: self.rom.clone(),
            rtc: self.rtc.save(),
            generation: self.generation.save(),
            flash: self.flash.as_ref().map(|flash| flash.save()),
            wires: self.interrupts.save(),
        }))
    }

    fn restore(&self, saved: &PlatformState) -> Result<(), BoardError> {
        let saved = VirtState::of(saved)?;
        self.rtc.restore(&saved.rtc);
        self.generation.restore(&saved.generation);
        match (&self.flash, &saved.flash) {
            (Some(flash), Some(saved)) => flash.restore(saved),
            (None, None) => {}
            _ => return Err(BoardError::State("its flash is not where it was".into())),
        }
        self.interrupts.restore(&saved.wires)
    }

    fn renew_generation(&self, id: [u8; 16]) {
        self.generation.renew(id);
    }

    fn alarm_clock(&self) -> Option<Arc<Rtc>> {
        Some(self.rtc.clone())
    }

    fn stats(&self) -> Stats {
        self.engine.stats()
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

const _: () = assert!(PciLayout::VIRT.configuration.0 == map::PCIE_ECAM.base);
const _: () = assert!(PciLayout::VIRT.memory_32.0 == map::PCIE_MMIO.base);
const _: () = assert!(Clint::SIZE == map::CLINT.size);
const _: () = assert!(clade_emulate::TIMEBASE_HZ == map::TIMEBASE_HZ as u64);
