//! Where boards differ: each kind builds what is its own, and hands over to what all have.

use std::sync::Arc;

use clade_devices::pci::{PciHostBuilder, PciLayout};
use clade_devices::syscon::SystemEventSink;
use clade_devices::{BusBuilder, ConsoleHost, Rtc, Uart};
use clade_emulate::Stats;
use clade_engine::{Engine, EngineError, GuestRam};

use super::clock::HostClock;
use super::console::ConsoleMux;
use super::late_bus::LateBus;
use super::state::PlatformState;
use super::timers::Alarm;
use super::{BoardError, Origin};
use crate::backends::Backends;
use crate::spec::MachineConfig;

/// What a board's kind has, and others have not.
pub(super) trait Platform: Send + Sync {
    /// The engine that runs its vCPUs.
    fn engine(&self) -> &dyn Engine;

    /// Everything about it that the guest can observe; it is at rest.
    fn save(&self) -> Result<PlatformState, EngineError>;

    /// Continues from a saved state. Called last: whatever other devices have signalled meanwhile is in
    /// it already.
    fn restore(&self, saved: &PlatformState) -> Result<(), BoardError>;

    /// Tells the guest that from now on it is the machine `id`, so that it draws its random numbers
    /// anew. On a board that is restored this wants restored vCPUs.
    fn renew_generation(&self, id: [u8; 16]);

    /// Presses the platform's own power button, if it has one. Returns whether the guest took note.
    fn press_power_button(&self) -> bool {
        false
    }

    /// The clock whose alarms are to go off, if it has any.
    fn alarm_clock(&self) -> Option<Arc<Rtc>> {
        None
    }

    /// Lets the time pass that the platform keeps itself; a new one's does not. Wants vCPUs at rest.
    fn start_clock(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Stops it. Wants vCPUs at rest.
    fn stop_clock(&self) -> Result<(), EngineError> {
        Ok(())
    }

    /// What the engine counted up to now.
    fn stats(&self) -> Stats {
        Stats::default()
    }
}

/// What a platform is built from.
pub(super) struct Basics<'a> {
    pub(super) config: &'a MachineConfig,
    pub(super) backends: &'a Backends,
    /// With nothing in it, or with all that was saved.
    pub(super) ram: Arc<GuestRam>,
    pub(super) clock: Arc<HostClock>,
    /// What firmware prints on.
    pub(super) host: Arc<dyn ConsoleHost>,
    pub(super) console: Arc<ConsoleMux>,
    pub(super) alarm: Arc<Alarm>,
    /// What the guest asks of the machine by way of a device.
    pub(super) events: SystemEventSink,
    pub(super) origin: Origin<'a>,
}

/// A platform, and what the rest of the board is built on.
pub(super) struct Built {
    pub(super) platform: Box<dyn Platform>,
    pub(super) uart: Arc<Uart>,
    pub(super) bus: Arc<LateBus>,
    /// What is to be on the bus, but for PCI.
    pub(super) devices: BusBuilder,
    /// The same of ports, on a board that has them.
    pub(super) ports: Option<(Arc<LateBus>, BusBuilder)>,
    pub(super) pci: PciHostBuilder,
    pub(super) pci_layout: PciLayout,
}
