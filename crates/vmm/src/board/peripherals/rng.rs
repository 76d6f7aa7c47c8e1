use std::sync::Arc;

use clade_devices::virtio::VirtioRng;

use super::{Plugging, Repeat, slot};
use crate::board::BoardError;
use crate::board::entropy::HostEntropy;

pub(super) fn plug(plugging: &mut Plugging<'_>) -> Result<(), BoardError> {
    let waker = plugging.waker("the entropy device")?;
    let device = VirtioRng::new(Arc::new(HostEntropy), waker.clone());
    let worked = device.clone();
    plugging.employ("entropy", waker, Repeat(move || worked.process()));
    plugging.plug(slot::ENTROPY, device)
}
