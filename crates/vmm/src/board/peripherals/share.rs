use clade_devices::virtio::VirtioFs;

use super::{Plugging, Repeat, slot};
use crate::board::BoardError;

pub(super) fn plug(plugging: &mut Plugging<'_>) -> Result<(), BoardError> {
    let parts = plugging.parts;
    let shares = parts.backends.shares.iter().zip(&parts.config.shares);
    for ((number, slot), (folder, spec)) in (0..).zip(slot::SHARES).zip(shares) {
        let waker = plugging.waker("a shared folder")?;
        let device = VirtioFs::new(&spec.tag, Box::new(folder.clone()), waker.clone());
        let worked = device.clone();
        let worker = Repeat(move || worked.process());
        plugging.employ(format!("share {number}"), waker, worker);
        plugging.plug(slot, device)?;
    }
    Ok(())
}
