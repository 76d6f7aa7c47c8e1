//! What is plugged into the board's PCI bus: one file for each kind of device.

mod balloon;
mod console;
mod disk;
mod network;
mod power_button;
mod rng;
mod serial;
mod share;
mod vsock;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clade_devices::pci::{PciHost, PciHostBuilder};
use clade_devices::virtio::{PowerButton, VirtioBalloon, VirtioDevice, VirtioPci};
use clade_engine::GuestRam;

use super::BoardError;
use super::console::ConsoleMux;
use crate::backends::Backends;
use crate::io_thread::{IoTask, IoWaker, IoWorker};
use crate::spec::MachineConfig;

/// The PCI slots; the host bridge has slot 0.
mod slot {
    use std::ops::Range;

    use crate::spec::{DISKS_MAX, SHARES_MAX};

    pub(super) const CONSOLE: u8 = 1;
    pub(super) const ENTROPY: u8 = 2;
    pub(super) const BALLOON: u8 = 3;
    pub(super) const VSOCK: u8 = 4;
    pub(super) const NETWORK: u8 = 5;
    pub(super) const POWER_BUTTON: u8 = 6;
    pub(super) const SERIAL: u8 = 7;
    pub(super) const DISKS: Range<u8> = 8..24;
    pub(super) const SHARES: Range<u8> = 24..32;

    const _: () = assert!(DISKS.end as usize - DISKS.start as usize == DISKS_MAX);
    const _: () = assert!(SHARES.end as usize - SHARES.start as usize == SHARES_MAX);
}

/// What the devices are made from.
pub(super) struct Parts<'a> {
    pub(super) config: &'a MachineConfig,
    pub(super) backends: &'a Backends,
    pub(super) ram: &'a Arc<GuestRam>,
    pub(super) console: &'a Arc<ConsoleMux>,
    pub(super) power_button: &'a Arc<PowerButton>,
}

/// A PCI bus that is being filled.
struct Plugging<'a> {
    parts: &'a Parts<'a>,
    pci: PciHostBuilder,
    functions: BTreeMap<u8, Arc<VirtioPci>>,
    tasks: Vec<IoTask>,
}

impl Plugging<'_> {
    /// What wakes the thread that is to work for `device`, as errors call it.
    fn waker(&self, device: &str) -> Result<Arc<IoWaker>, BoardError> {
        IoWaker::new().map_err(|source| BoardError::Host {
            what: format!("a descriptor for {device}"),
            source,
        })
    }

    /// Has a thread called `name` (at most 15 bytes) do `worker`'s work.
    fn employ(
        &mut self,
        name: impl Into<String>,
        waker: Arc<IoWaker>,
        worker: impl IoWorker + 'static,
    ) {
        self.tasks.push(IoTask {
            name: name.into(),
            waker,
            worker: Box::new(worker),
        });
    }

    fn plug(&mut self, slot: u8, device: Arc<dyn VirtioDevice>) -> Result<(), BoardError> {
        let ram = self.parts.ram;
        let function = self
            .pci
            .plug(slot, |pin| VirtioPci::new(device, ram, pin))?;
        self.functions.insert(slot, function);
        Ok(())
    }
}

/// Calls a device for as long as it says that there is more to do.
struct Repeat<F>(F);

impl<F: FnMut() -> bool + Send> IoWorker for Repeat<F> {
    fn work(&mut self) -> Option<Duration> {
        (self.0)().then_some(Duration::ZERO)
    }
}

/// What there is once all is plugged in.
pub(super) struct Plugged {
    /// The work that is to be done for the devices.
    pub(super) tasks: Vec<IoTask>,
    pub(super) balloon: Arc<VirtioBalloon>,
    pub(super) pci: Arc<PciHost>,
    /// The devices, by slot.
    pub(super) functions: BTreeMap<u8, Arc<VirtioPci>>,
}

/// Plugs all devices into `pci`.
pub(super) fn plug(pci: PciHostBuilder, parts: &Parts<'_>) -> Result<Plugged, BoardError> {
    let mut plugging = Plugging {
        parts,
        pci,
        functions: BTreeMap::new(),
        tasks: Vec::new(),
    };
    console::plug(&mut plugging)?;
    rng::plug(&mut plugging)?;
    let balloon = balloon::plug(&mut plugging)?;
    network::plug(&mut plugging)?;
    power_button::plug(&mut plugging)?;
    disk::plug(&mut plugging)?;
    share::plug(&mut plugging)?;
    serial::plug(&mut plugging)?;
    vsock::plug(&mut plugging)?;
    Ok(Plugged {
        tasks: plugging.tasks,
        balloon,
        pci: plugging.pci.build(),
        functions: plugging.functions,
    })
}
