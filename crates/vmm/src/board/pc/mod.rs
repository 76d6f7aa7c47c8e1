//! The PC: what an x86-64 operating system needs to find a machine, and little of what a PC has for
//! history's sake. It is described by ACPI, as a hardware-reduced machine. One with UEFI firmware has what that
//! wants besides (`q35`).

mod acpi;
mod generation;
pub mod map;
mod q35;
mod start;
mod state;

use std::sync::Arc;

use clade_devices::acpi::Event;
use clade_devices::pci::{PciHostBuilder, PciLayout};
use clade_devices::{AcpiEvents, BusBuilder, Cmos, I8042, PowerRegisters, Syscon, Uart};
use clade_engine::{Engine, EngineError, IrqLine};
use clade_kvm::{Kvm, KvmConfig, Start};

use super::console::Console;
use super::late_bus::LateBus;
use super::platform::{Basics, Built, Platform};
use super::state::PlatformState;
use super::{BoardError, FlashFiles, Origin, Window, random};

use generation::Generation;
use map::Layout;
use q35::Q35;

pub use q35::Q35State;
pub use state::PcState;

/// Where `size` bytes of guest memory are, and memory for the firmware's code if there is any.
pub(super) fn memory(size: u64, flash: Option<&FlashFiles>) -> Vec<Window> {
    let low = size.min(map::LOW_RAM_END);
    let high = (size > low).then(|| Window::new(map::HIGH_RAM, size - low));
    let code = flash.map(q35::code_window);
    [Window::new(0, low)]
        .into_iter()
        .chain(code)
        .chain(high)
        .collect()
}

/// What only this board has.
struct Pc {
    engine: Kvm,
    cmos: Arc<Cmos>,
    events: Arc<AcpiEvents>,
    generation: Generation,
    q35: Option<Q35>,
}

/// Builds it, with the guest loaded if it is switched on.
pub(super) fn build(basics: &Basics<'_>) -> Result<Built, BoardError> {
    let Basics { config, clock, .. } = basics;
    let flash = basics.backends.flash.as_ref();
    let layout = match flash {
        None => Layout::DIRECT,
        Some(_) => Layout::q35(config.memory),
    };
    let start = match (basics.origin, flash) {
        (Origin::PowerOn, None) => start::load(config, &basics.ram)?,
        (Origin::PowerOn, Some(flash)) => {
            flash.load_code(&basics.ram, q35::code_window(flash).base)?;
            Start::Reset
        }
        // Its vCPUs are restored afterwards.
        (Origin::Saved(..), _) => Start::Reset,
    };
    let host = basics.backends.kvm.as_ref().ok_or(BoardError::NoKvm)?;
    let (bus, port_bus) = (Arc::new(LateBus::default()), Arc::new(LateBus::default()));
    let engine = Kvm::new(
        host,
        KvmConfig {
            cpus: config.cpus,
            ram: basics.ram.clone(),
            memory: bus.clone(),
            ports: port_bus.clone(),
            cpu: config.cpu_model,
            start,
        },
    )?;
    let wire = |number| wire(&engine, number);
    let uart = Uart::new(wire(map::COM1_IRQ)?, basics.console.host_of(Console::Uart));
    basics.console.connect(Console::Uart, uart.clone());
    let cmos = Cmos::new(clock.clone());
    let events = AcpiEvents::new(wire(map::EVENT_IRQ)?);
    let generation = Generation::new(basics.ram.clone(), events.clone());
    if let Origin::PowerOn = basics.origin {
        generation.set(random()?);
    }

    let sink = &basics.events;
    let mut ports = BusBuilder::new();
    map::COM1_PORTS.insert(&mut ports, "serial port", uart.clone())?;
    map::CMOS_PORTS.insert(&mut ports, "CMOS", cmos.clone())?;
    let keyboard = match flash {
        None => I8042::new(sink.clone()),
        Some(_) => I8042::hidden(sink.clone()),
    };
    map::I8042_PORTS.insert(&mut ports, "keyboard controller", keyboard)?;
    map::POWER_PORTS.insert(&mut ports, "ACPI power", PowerRegisters::new(sink.clone()))?;
    (layout.event_ports).insert(&mut ports, "ACPI events", events.clone())?;
    let mut devices = BusBuilder::new();
    map::TEST.insert(&mut devices, "test finisher", Syscon::new(sink.clone()))?;

    let pin = |pin| wire(map::PCI_IRQ_BASE + pin);
    let mut pci = PciHostBuilder::new([pin(0)?, pin(1)?, pin(2)?, pin(3)?]);
    let mut q35 = None;
    if let Some(flash) = flash {
        let parts = Q35::new(basics, flash, &layout)?;
        parts.insert(basics, flash, &mut devices, &mut ports)?;
        pci = q35::plug(pci, basics)?;
        q35 = Some(parts);
    }
    let window = |window: Window| (window.base, window.size);
    Ok(Built {
        uart,
        bus,
        devices,
        ports: Some((port_bus, ports)),
        pci: pci.with_messages(engine.msi()),
        pci_layout: PciLayout {
            configuration: window(map::PCI_CONFIGURATION),
            memory_32: window(layout.pci_memory),
            memory_64: layout.high_pci_memory.map(window),
            ports: None,
        },
        platform: Box::new(Pc {
            engine,
            cmos,
            events,
            generation,
            q35,
        }),
    })
}

/// The wire of a global system interrupt.
fn wire(engine: &Kvm, number: u32) -> Result<Arc<dyn IrqLine>, BoardError> {
    engine
        .irq_line(number)
        .ok_or_else(|| BoardError::Wiring(format!("there is no interrupt {number}")))
}

impl Platform for Pc {
    fn engine(&self) -> &dyn Engine {
        &self.engine
    }

    fn save(&self) -> Result<PlatformState, EngineError> {
        Ok(PlatformState::Pc(PcState {
            cmos: self.cmos.save(),
            events: self.events.save(),
            // After those whose interrupts it has.
            chips: self.engine.save_chips()?,
            q35: self.q35.as_ref().map(Q35::save),
        }))
    }

    fn restore(&self, saved: &PlatformState) -> Result<(), BoardError> {
        let PlatformState::Pc(saved) = saved else {
            return Err(PlatformState::of_another_kind());
        };
        self.cmos.restore(&saved.cmos)?;
        self.events.restore(&saved.events);
        match (&self.q35, &saved.q35) {
            (Some(q35), Some(saved)) => q35.restore(saved),
            (None, None) => {}
            _ => return Err(BoardError::State("its firmware is not where it was".into())),
        }
        Ok(self.engine.restore_chips(&saved.chips)?)
    }

    fn renew_generation(&self, id: [u8; 16]) {
        self.generation.renew(id);
    }

    fn start_clock(&self) -> Result<(), EngineError> {
        self.engine.start_clock()
    }

    fn stop_clock(&self) -> Result<(), EngineError> {
        self.engine.stop_clock()
    }

    fn press_power_button(&self) -> bool {
        self.events.raise(Event::PowerButton)
    }
}
