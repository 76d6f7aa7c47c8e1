use std::io::Read;
use std::sync::{Arc, Mutex};

use virtio_bindings::virtio_ids::VIRTIO_ID_NET;
use virtio_bindings::virtio_net::{
    VIRTIO_NET_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_TSO6,
    VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_MAC, VIRTIO_NET_F_MRG_RXBUF,
    VIRTIO_NET_F_STATUS, VIRTIO_NET_S_LINK_UP,
};

use super::receiver::Receiver;
use super::{NetBackend, NetOffloads, NetState};
use crate::StateError;
use crate::little_endian::put_from;
use crate::sync::lock;
use crate::virtio::{Activation, BadChain, Chain, DeviceState, VirtQueue, VirtioDevice, Waker};

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
/// A packet of 64 KiB takes up to 45 buffers to receive.
const QUEUE_SIZES: [u16; 2] = [512, 256];

const FEATURES: u64 = 1 << VIRTIO_NET_F_CSUM
    | 1 << VIRTIO_NET_F_GUEST_CSUM
    | 1 << VIRTIO_NET_F_MAC
    | 1 << VIRTIO_NET_F_GUEST_TSO4
    | 1 << VIRTIO_NET_F_GUEST_TSO6
    | 1 << VIRTIO_NET_F_HOST_TSO4
    | 1 << VIRTIO_NET_F_HOST_TSO6
    | 1 << VIRTIO_NET_F_MRG_RXBUF
    | 1 << VIRTIO_NET_F_STATUS;

/// The longest packet, in bytes: header, Ethernet header with a VLAN tag, 64 KiB.
const MAX_PACKET: usize = 12 + 18 + 65535;

/// How many packets are moved each way in one round.
const ROUND: usize = 256;

/// The device. Its work is done by [`VirtioNet::process`].
pub struct VirtioNet {
    waker: Arc<dyn Waker>,
    inner: Mutex<Inner>,
}

struct Inner {
    state: NetState,
    active: Option<Activation>,
    /// The backend has not heard of the driver yet.
    fresh: bool,
    receiver: Receiver,
    packet: Vec<u8>,
}

impl VirtioNet {
    /// A device with the Ethernet address `mac` whose thread is woken by `waker`.
    #[must_use]
    pub fn new(mac: [u8; 6], waker: Arc<dyn Waker>) -> Arc<Self> {
        Arc::new(VirtioNet {
            waker,
            inner: Mutex::new(Inner {
                state: NetState { mac },
                active: None,
                fresh: false,
                receiver: Receiver::default(),
                packet: Vec::new(),
            }),
        })
    }

    /// What the guest can observe of the device itself.
    #[must_use]
    pub fn save(&self) -> NetState {
        lock(&self.inner).state
    }

    /// Moves packets between the driver and `backend`, a bounded number. Returns whether there
    /// may be more to move at once.
    pub fn process(&self, backend: &mut dyn NetBackend) -> bool {
        let mut inner = lock(&self.inner);
        let inner = &mut *inner;
        let Some(active) = &inner.active else {
            return false;
        };
        let has = |feature: u32| active.features & 1 << feature != 0;
        if std::mem::take(&mut inner.fresh) {
            backend.start(NetOffloads {
                checksum: has(VIRTIO_NET_F_GUEST_CSUM),
                tcp4: has(VIRTIO_NET_F_GUEST_TSO4),
                tcp6: has(VIRTIO_NET_F_GUEST_TSO6),
            });
        }
        let sent = transmit(&active.queues[TRANSMIT], &mut inner.packet, backend);
        let mergeable = has(VIRTIO_NET_F_MRG_RXBUF);
        let queue = &active.queues[RECEIVE];
        let received = inner.receiver.receive(queue, mergeable, backend, ROUND);
        match (sent, received) {
            (Ok(sent), Ok(received)) => sent + received > 0,
            _ => {
                active.signals.needs_reset();
                false
            }
        }
    }
}

/// Hands over what the driver has to send; returns how many packets.
fn transmit(
    queue: &VirtQueue,
    packet: &mut Vec<u8>,
    backend: &mut dyn NetBackend,
) -> Result<usize, BadChain> {
    for done in 0..ROUND {
        let Some(chain) = queue.pop() else {
            return Ok(done);
        };
        if let Some(length) = read(&chain, packet)? {
            backend.send(&mut packet[..length]);
        }
        queue.push(&chain, 0);
    }
    Ok(ROUND)
}

/// Copies a packet; returns its length, or none if it is longer than packets can be.
fn read(chain: &Chain, packet: &mut Vec<u8>) -> Result<Option<usize>, BadChain> {
    // One more than allowed, to notice it.
    packet.resize(MAX_PACKET + 1, 0);
    let mut reader = chain.reader()?;
    let mut length = 0;
    while length < packet.len() {
        match reader.read(&mut packet[length..]).map_err(|_| BadChain)? {
            0 => return Ok(Some(length)),
            more => length += more,
        }
    }
    Ok(None)
}

impl VirtioDevice for VirtioNet {
    fn device_id(&self) -> u16 {
        VIRTIO_ID_NET as u16
    }

    fn features(&self) -> u64 {
        FEATURES
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// `struct virtio_net_config` (section 5.1.4), as far as the features reach.
    fn config_read(&self, offset: u64, data: &mut [u8]) {
        let mut config = [0; 8];
        config[..6].copy_from_slice(&self.save().mac);
        config[6..].copy_from_slice(&(VIRTIO_NET_S_LINK_UP as u16).to_le_bytes());
        put_from(data, &config, offset);
    }

    fn activate(&self, activation: Activation) {
        {
            let mut inner = lock(&self.inner);
            inner.active = Some(activation);
            inner.fresh = true;
        }
        self.waker.wake();
    }

    fn waker(&self) -> Option<&Arc<dyn Waker>> {
        Some(&self.waker)
    }

    fn reset(&self) {
        let mut inner = lock(&self.inner);
        inner.active = None;
        inner.receiver = Receiver::default();
    }

    fn save_state(&self) -> DeviceState {
        DeviceState::Net(self.save())
    }

    fn restore_state(&self, saved: &DeviceState) -> Result<(), StateError> {
        match saved {
            // A clone's card has an address of its own.
            DeviceState::Net(_) => Ok(()),
            other => Err(other.mismatch("network card")),
        }
    }
}
