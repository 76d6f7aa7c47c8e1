use clade_devices::virtio::VirtioNet;

use super::{Plugging, slot};
use crate::board::BoardError;

pub(super) fn plug(plugging: &mut Plugging<'_>) -> Result<(), BoardError> {
    let Some(link) = &plugging.parts.backends.network else {
        return Ok(());
    };
    let waker = plugging.waker("the network card")?;
    let device = VirtioNet::new(link.mac.0, waker.clone());
    let worker = link
        .worker(device.clone())
        .map_err(|source| BoardError::Host {
            what: "a descriptor for the network card".to_owned(),
            source,
        })?;
    plugging.employ("network", waker, worker);
    plugging.plug(slot::NETWORK, device)
}
