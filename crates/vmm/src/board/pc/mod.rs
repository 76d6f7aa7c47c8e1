//! The PC: what an x86-64 operating system needs to find a machine, and little of what a PC has for
//! history's sake. It is described by ACPI, as a hardware-reduced machine.

mod acpi;
mod generation;
pub mod map;
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
use super::{BoardError, Origin, Window, random};

use generation::Generation;

pub use state::PcState;

/// Where `size` bytes of guest memory are.
pub(super) fn memory(size: u64) -> Vec<Window> {
    let low = size.min(map::LOW_RAM_END);
    let high = (size > low).then(|| Window::new(map::HIGH_RAM, size - low));
    [Window::new(0, low)].into_iter().chain(high).collect()
}

/// What only this board has.
struct Pc {
    engine: Kvm,
    cmos: Arc<Cmos>,
    events: Arc<AcpiEvents>,
    generation: Generation,
}

/// Builds it, with the guest loaded if it is switched on.
pub(super) fn build(basics: &Basics<'_>) -> Result<Built, BoardError> {
    let Basics { config, clock, .. } = basics;
    let start = match basics.origin {
        Origin::PowerOn => start::load(config, &basics.ram)?,
        // Its vCPUs are restored afterwards.
        Origin::Saved(..) => Start::Reset,
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
    map::I8042_PORTS.insert(&mut ports, "keyboard controller", I8042::new(sink.clone()))?;
    map::POWER_PORTS.insert(&mut ports, "ACPI power", PowerRegisters::new(sink.clone()))?;
    map::EVENT_PORTS.insert(&mut ports, "ACPI events", events.clone())?;
    let mut devices = BusBuilder::new();
    map::TEST.insert(&mut devices, "test finisher", Syscon::new(sink.clone()))?;

    let pin = |pin| wire(map::PCI_IRQ_BASE + pin);
    let pci = PciHostBuilder::new([pin(0)?, pin(1)?, pin(2)?, pin(3)?]);
    Ok(Built {
        uart,
        bus,
        devices,
        ports: Some((port_bus, ports)),
        pci: pci.with_messages(engine.msi()),
        pci_layout: PciLayout {
            configuration: (map::PCI_CONFIGURATION.base, map::PCI_CONFIGURATION.size),
            memory_32: (map::PCI_MEMORY.base, map::PCI_MEMORY.size),
            memory_64: None,
            ports: None,
        },
        platform: Box::new(Pc {
            engine,
            cmos,
            events,
            generation,
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
        }))
    }

    fn restore(&self, saved: &PlatformState) -> Result<(), BoardError> {
        let PlatformState::Pc(saved) = saved else {
            return Err(PlatformState::of_another_kind());
        };
        self.cmos.restore(&saved.cmos)?;
        self.events.restore(&saved.events);
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
