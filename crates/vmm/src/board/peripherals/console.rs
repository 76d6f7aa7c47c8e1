use clade_devices::virtio::VirtioConsole;

use super::{Plugging, slot};
use crate::board::BoardError;
use crate::board::console::Console;

pub(super) fn plug(plugging: &mut Plugging<'_>) -> Result<(), BoardError> {
    let console = plugging.parts.console;
    let device = VirtioConsole::new(console.host_of(Console::Virtio));
    console.connect(Console::Virtio, device.clone());
    plugging.plug(slot::CONSOLE, device)
}
