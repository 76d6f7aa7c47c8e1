use clade_devices::virtio::VirtioPci;

use super::{Plugging, slot};
use crate::board::virt::BoardError;

pub(super) fn plug(plugging: &mut Plugging<'_>) -> Result<(), BoardError> {
    let parts = plugging.parts;
    plugging.pci.plug(slot::POWER_BUTTON, |pin| {
        VirtioPci::new(parts.power_button.clone(), parts.ram, pin)
    })?;
    Ok(())
}
