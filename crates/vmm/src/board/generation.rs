//! Who the machine is, for a guest that may be one of several with the same past.

use std::sync::Arc;

use clade_devices::{BusBuilder, VmGenId};

use super::interrupts::InterruptControllers;
use super::map;
use super::virt::{Board, BoardError, insert, random};

/// Puts the device onto `bus`, with an identifier that no other machine has.
pub(super) fn plug(
    bus: &mut BusBuilder,
    interrupts: &InterruptControllers,
) -> Result<Arc<VmGenId>, BoardError> {
    let device = VmGenId::new(interrupts.wire(map::VMGENID_IRQ)?, random()?);
    insert(bus, "VM generation ID", map::VMGENID, device.clone())?;
    Ok(device)
}

impl Board {
    /// Tells the guest that from now on it is the machine `id`, so that it draws its random numbers
    /// anew. On a board that is restored this wants restored vCPUs.
    pub(crate) fn renew_generation(&self, id: [u8; 16]) {
        self.generation.renew(id);
    }
}
