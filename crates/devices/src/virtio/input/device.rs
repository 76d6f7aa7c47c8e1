use std::io::Write;
use std::sync::{Arc, Mutex};

use virtio_bindings::virtio_ids::VIRTIO_ID_INPUT;

use super::InputState;
use super::config::{EV_KEY, EV_SYN, KEY_POWER, SYN_REPORT, structure};
use crate::StateError;
use crate::little_endian::put_from;
use crate::sync::lock;
use crate::virtio::{Activation, DeviceState, VirtQueue, VirtioDevice};

const EVENTS: u16 = 0;
const STATUS: u16 = 1;
const QUEUE_SIZES: [u16; 2] = [64, 64];

/// The key goes down and up again, each told with a report of its own.
const PRESS: [Event; 4] = [
    Event(EV_KEY, KEY_POWER, 1),
    Event(EV_SYN, SYN_REPORT, 0),
    Event(EV_KEY, KEY_POWER, 0),
    Event(EV_SYN, SYN_REPORT, 0),
];

/// Type, code and value.
struct Event(u16, u16, u32);

impl Event {
    /// `struct virtio_input_event` (section 5.8.6).
    fn bytes(&self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[0..2].copy_from_slice(&self.0.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.1.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.2.to_le_bytes());
        bytes
    }
}

/// A keyboard with one key: the power button.
#[derive(Default)]
pub struct PowerButton {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    state: InputState,
    active: Option<Activation>,
}

impl PowerButton {
    /// A button that nobody presses.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Presses and releases the button. Returns whether a driver took note: none does before the
    /// guest's kernel has one, and what it makes of it is the guest's affair.
    pub fn press(&self) -> bool {
        let inner = lock(&self.inner);
        let Some(active) = &inner.active else {
            return false;
        };
        let queue = &active.queues[usize::from(EVENTS)];
        for event in &PRESS {
            match send(queue, event) {
                Sent::Yes => {}
                Sent::NoBuffer => return false,
                Sent::BadBuffer => {
                    active.signals.needs_reset();
                    return false;
                }
            }
        }
        true
    }

    /// What the guest can observe of the device itself.
    #[must_use]
    pub fn save(&self) -> InputState {
        lock(&self.inner).state
    }

    /// Continues from a saved state.
    pub fn restore(&self, saved: &InputState) {
        lock(&self.inner).state = *saved;
    }

    /// Gives back what the driver would set lights and sounds with: there are none.
    fn ignore_status(&self) {
        let queue = {
            let inner = lock(&self.inner);
            let queues = inner.active.as_ref().map(|active| &active.queues);
            queues.and_then(|queues| queues.get(usize::from(STATUS)).cloned())
        };
        if let Some(queue) = queue {
            // No more than it can hold at once, however fast others fill it.
            for chain in std::iter::from_fn(|| queue.pop()).take(usize::from(queue.size())) {
                queue.push(&chain, 0);
            }
        }
    }
}

enum Sent {
    Yes,
    NoBuffer,
    BadBuffer,
}

fn send(queue: &VirtQueue, event: &Event) -> Sent {
    let Some(chain) = queue.pop() else {
        return Sent::NoBuffer;
    };
    let bytes = event.bytes();
    match chain.writer().map(|mut writer| writer.write_all(&bytes)) {
        Ok(Ok(())) => {
            queue.push(&chain, bytes.len() as u32);
            Sent::Yes
        }
        _ => Sent::BadBuffer,
    }
}

impl VirtioDevice for PowerButton {
    fn device_id(&self) -> u16 {
        VIRTIO_ID_INPUT as u16
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn config_read(&self, offset: u64, data: &mut [u8]) {
        put_from(data, &structure(self.save()), offset);
    }

    /// The driver writes the two selectors, and nothing else.
    fn config_write(&self, offset: u64, data: &[u8]) {
        let mut inner = lock(&self.inner);
        for (at, &byte) in (offset..).zip(data) {
            match at {
                0 => inner.state.select = byte,
                1 => inner.state.subselect = byte,
                _ => {}
            }
        }
    }

    fn activate(&self, activation: Activation) {
        lock(&self.inner).active = Some(activation);
    }

    fn notify(&self, queue: u16) {
        if queue == STATUS {
            self.ignore_status();
        }
    }

    fn reset(&self) {
        *lock(&self.inner) = Inner::default();
    }

    fn save_state(&self) -> DeviceState {
        DeviceState::Input(self.save())
    }

    fn restore_state(&self, saved: &DeviceState) -> Result<(), StateError> {
        match saved {
            DeviceState::Input(saved) => {
                self.restore(saved);
                Ok(())
            }
            other => Err(other.mismatch("power button")),
        }
    }
}
