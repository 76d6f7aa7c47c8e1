use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

use virtio_bindings::virtio_ids::VIRTIO_ID_VSOCK;

use super::inbox::Inbox;
use super::packet::{HEADER, Header, MAX_PAYLOAD};
use super::switchboard::{FIRST_HOST_PORT, Switchboard};
use super::{VsockHost, VsockState, VsockStream};
use crate::StateError;
use crate::little_endian::put_from;
use crate::sync::lock;
use crate::virtio::{Activation, Chain, DeviceState, VirtQueue, VirtioDevice, Waker};

/// Feature bit: stream sockets.
const FEATURE_STREAM: u64 = 1 << 0;

const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const EVENT: usize = 2;
const QUEUE_SIZES: [u16; 3] = [256, 256, 16];

/// `VIRTIO_VSOCK_EVENT_TRANSPORT_RESET` (section 5.10.6.9).
const TRANSPORT_RESET: u32 = 0;

/// How many packets are taken from the guest before it is given any, and the other way round.
const BURST: usize = 64;

/// How many bursts there are in one call, so that it ends however busy both sides are.
const ROUNDS: usize = 16;

/// The device.
pub struct VirtioVsock {
    waker: Arc<dyn Waker>,
    inner: Mutex<Inner>,
}

struct Inner {
    state: VsockState,
    active: Option<Activation>,
    switchboard: Switchboard,
    scratch: Vec<u8>,
    /// The driver was told that all connections are gone, and had so many more buffers for events then.
    reset_told: Option<usize>,
}

impl VirtioVsock {
    /// A device whose guest has address `guest_cid`, 3 to `0xffff_fffe`, and whose connections go
    /// to `host`. `waker` gets [`VirtioVsock::process`] called.
    #[must_use]
    pub fn new(guest_cid: u32, host: Arc<dyn VsockHost>, waker: Arc<dyn Waker>) -> Arc<Self> {
        Arc::new(VirtioVsock {
            waker,
            inner: Mutex::new(Inner {
                state: VsockState {
                    guest_cid,
                    transport_reset: false,
                    next_port: FIRST_HOST_PORT,
                },
                active: None,
                switchboard: Switchboard::new(guest_cid, host),
                scratch: vec![0; MAX_PAYLOAD],
                reset_told: None,
            }),
        })
    }

    /// What the guest can observe of the device itself.
    #[must_use]
    pub fn save(&self) -> VsockState {
        let inner = lock(&self.inner);
        VsockState {
            next_port: inner.switchboard.next_port(),
            ..inner.state
        }
    }

    /// Continues from a saved state, without the connections that there were: the guest is told.
    /// The address stays the one that the device was made with.
    pub fn restore(&self, saved: &VsockState) {
        let mut inner = lock(&self.inner);
        inner.switchboard.clear();
        inner.switchboard.set_next_port(saved.next_port);
        inner.state.transport_reset = true;
        inner.reset_told = None;
    }

    /// Asks the guest for a connection from the host to its `port`. If it refuses, has no driver
    /// yet, or has too many already, `stream` is dropped. To be followed by
    /// [`VirtioVsock::process`].
    pub fn connect(&self, port: u32, stream: Box<dyn VsockStream>) {
        let mut inner = lock(&self.inner);
        if inner.active.is_some() {
            inner.switchboard.connect(port, stream);
        }
    }

    /// Moves what can be moved, from guest to host and back, without waiting for more. Called when
    /// the waker was woken, and when something happened at a host's end. Returns whether there is
    /// more to do right away.
    pub fn process(&self) -> bool {
        let mut inner = lock(&self.inner);
        let Some(active) = inner.active.clone() else {
            return false;
        };
        inner.tell_reset(&active);
        // A new connection that the driver learns of before that would be gone with the others.
        if !inner.is_reset_heard(&active) {
            return false;
        }
        (0..ROUNDS).all(|_| inner.move_some(&active))
    }
}

impl Inner {
    /// Returns whether there was anything to move.
    fn move_some(&mut self, active: &Activation) -> bool {
        let taken = self.take_packets(active, &active.queues[TRANSMIT]);
        self.switchboard.serve_hosts();
        let mut inbox = Inbox::new(active, &active.queues[RECEIVE]);
        let given = (0..BURST)
            .take_while(|_| self.switchboard.send_next(&mut inbox, &mut self.scratch))
            .count();
        taken + given > 0
    }

    fn take_packets(&mut self, active: &Activation, queue: &VirtQueue) -> usize {
        for count in 0..BURST {
            if !self.switchboard.can_receive() {
                return count;
            }
            let Some(chain) = queue.pop() else {
                return count;
            };
            match read_packet(&chain, &mut self.scratch) {
                Some((header, length)) => {
                    self.switchboard.receive(&header, &self.scratch[..length]);
                    queue.push(&chain, 0);
                }
                None => active.signals.needs_reset(),
            }
        }
        BURST
    }

    /// Drivers offer an event's buffer again when they have done what it asks for.
    fn is_reset_heard(&mut self, active: &Activation) -> bool {
        let queue = &active.queues[EVENT];
        if self
            .reset_told
            .is_some_and(|before| available(queue) <= before)
        {
            return false;
        }
        self.reset_told = None;
        true
    }

    fn tell_reset(&mut self, active: &Activation) {
        if !self.state.transport_reset {
            return;
        }
        let queue = &active.queues[EVENT];
        let Some(chain) = queue.pop() else {
            return;
        };
        let event = TRANSPORT_RESET.to_le_bytes();
        let written = chain
            .writer()
            .is_ok_and(|mut writer| writer.write_all(&event).is_ok());
        if written {
            self.reset_told = Some(available(queue));
            queue.push(&chain, event.len() as u32);
            self.state.transport_reset = false;
        } else {
            active.signals.needs_reset();
        }
    }
}

/// How many buffers the driver offers. It notifies the device of the next.
fn available(queue: &VirtQueue) -> usize {
    let most = usize::from(queue.size());
    let taken = (0..most).map_while(|_| queue.pop()).count();
    queue.put_back(taken);
    taken
}

/// Reads a packet: its header, and its payload into `scratch`; none if it is not a possible one.
fn read_packet(chain: &Chain, scratch: &mut [u8]) -> Option<(Header, usize)> {
    let mut reader = chain.reader().ok()?;
    let mut bytes = [0; HEADER];
    reader.read_exact(&mut bytes).ok()?;
    let header = Header::from_bytes(&bytes);
    let length = usize::try_from(header.length).ok()?;
    reader.read_exact(scratch.get_mut(..length)?).ok()?;
    Some((header, length))
}

impl VirtioDevice for VirtioVsock {
    fn device_id(&self) -> u16 {
        VIRTIO_ID_VSOCK as u16
    }

    fn features(&self) -> u64 {
        FEATURE_STREAM
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// `struct virtio_vsock_config` (section 5.10.4).
    fn config_read(&self, offset: u64, data: &mut [u8]) {
        let cid = u64::from(self.save().guest_cid);
        put_from(data, &cid.to_le_bytes(), offset);
    }

    fn activate(&self, activation: Activation) {
        lock(&self.inner).active = Some(activation);
        self.waker.wake();
    }

    fn waker(&self) -> Option<&Arc<dyn Waker>> {
        Some(&self.waker)
    }

    /// The connections were the old driver's.
    fn reset(&self) {
        let mut inner = lock(&self.inner);
        inner.active = None;
        inner.state.transport_reset = false;
        inner.reset_told = None;
        inner.switchboard.clear();
    }

    fn save_state(&self) -> DeviceState {
        DeviceState::Vsock(self.save())
    }

    fn restore_state(&self, saved: &DeviceState) -> Result<(), StateError> {
        match saved {
            DeviceState::Vsock(saved) => {
                self.restore(saved);
                Ok(())
            }
            other => Err(other.mismatch("socket device")),
        }
    }
}
