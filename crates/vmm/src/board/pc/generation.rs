//! Who the machine is, for a guest that may be one of several with the same past: VM generation ID, in
//! the guest's own memory.

use std::sync::Arc;

use clade_devices::AcpiEvents;
use clade_devices::acpi::Event;
use clade_engine::GuestRam;
use vm_memory::{Bytes, GuestAddress};

use super::map;

pub(super) struct Generation {
    ram: Arc<GuestRam>,
    events: Arc<AcpiEvents>,
}

impl Generation {
    pub(super) fn new(ram: Arc<GuestRam>, events: Arc<AcpiEvents>) -> Self {
        Self { ram, events }
    }

    /// Writes the identifier of a machine that begins.
    pub(super) fn set(&self, id: [u8; 16]) {
        let address = GuestAddress(map::GENERATION.base);
        // Every PC has memory there.
        let written = self.ram.write_slice(&id, address);
        debug_assert!(written.is_ok());
    }

    /// Tells the guest that from now on it is the machine `id`.
    pub(super) fn renew(&self, id: [u8; 16]) {
        self.set(id);
        self.events.raise(Event::Generation);
    }
}
