use std::sync::Arc;

use super::{DeviceState, Signals, VirtQueue, Waker};
use crate::StateError;

/// A virtio device behind a transport. Calls come from vCPU threads, several at once.
pub trait VirtioDevice: Send + Sync {
    /// Its device ID (section 5): 1 network, 2 block, 3 console, ...
    fn device_id(&self) -> u16;

    /// The feature bits of its own that it offers, 0 to 23 and 50 to 63. The transport adds those
    /// of the queues and of virtio as such.
    fn features(&self) -> u64;

    /// The largest size of each of its queues: powers of two up to 32768.
    fn queue_sizes(&self) -> &[u16];

    /// Reads its configuration structure. What lies beyond its end is zero.
    fn config_read(&self, offset: u64, data: &mut [u8]);

    /// Writes its configuration structure.
    fn config_write(&self, _offset: u64, _data: &[u8]) {}

    /// Counts the changes to its configuration structure (section 2.5), so that a driver can
    /// read several fields of one version.
    fn config_generation(&self) -> u8 {
        0
    }

    /// The driver is ready, or a saved state in which it was has been restored: the queues may be
    /// used from now on. Must not call the host back.
    fn activate(&self, activation: Activation);

    /// What is woken when the driver has put buffers into a queue, or might have; also while no driver
    /// is ready. `None` for a device that does its work in [`VirtioDevice::notify`].
    fn waker(&self) -> Option<&Arc<dyn Waker>> {
        None
    }

    /// The driver has put buffers into a queue, or might have. Called with no lock held, and not always
    /// if there is a [`VirtioDevice::waker`].
    fn notify(&self, _queue: u16) {
        if let Some(waker) = self.waker() {
            waker.wake();
        }
    }

    /// The driver has gone. On return the device writes no guest memory any more and has
    /// forgotten what it was given with [`VirtioDevice::activate`]. Must not call the host back.
    fn reset(&self);

    /// What the guest can observe of the device itself. Waits for what is being worked on.
    fn save_state(&self) -> DeviceState {
        DeviceState::Stateless
    }

    /// Continues from a saved state.
    ///
    /// # Errors
    /// When the state is of another device. This one is then unchanged.
    fn restore_state(&self, saved: &DeviceState) -> Result<(), StateError> {
        match saved {
            DeviceState::Stateless => Ok(()),
            other => Err(other.mismatch("virtio device")),
        }
    }
}

/// What an active device works with.
#[derive(Clone)]
pub struct Activation {
    /// The feature bits that device and driver agreed on.
    pub features: u64,
    /// The device's queues, by index. Those that the driver did not enable never yield a buffer.
    pub queues: Vec<Arc<VirtQueue>>,
    /// Interrupts for other reasons than used buffers.
    pub signals: Arc<Signals>,
}
