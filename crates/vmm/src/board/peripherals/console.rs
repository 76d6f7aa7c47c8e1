use clade_devices::virtio::{VirtioConsole, VirtioPci};

use super::{Plugging, slot};
use crate::board::console::Console;
use crate::board::virt::BoardError;

pub(super) fn plug(plugging: &mut Plugging<'_>) -> Result<(), BoardError> {
    let parts = plugging.parts;
    let device = VirtioConsole::new(parts.console.host_of(Console::Virtio));
    parts.console.connect(Console::Virtio, device.clone());
    plugging
        .pci
        .plug(slot::CONSOLE, |pin| VirtioPci::new(device, parts.ram, pin))?;
    Ok(())
}
