use std::sync::{Arc, Mutex};

use virtio_bindings::virtio_ids::VIRTIO_ID_FS;

use super::{FsBackend, FsState};
use crate::StateError;
use crate::little_endian::put_from;
use crate::sync::lock;
use crate::virtio::{Activation, BadChain, Chain, DeviceState, VirtioDevice, Waker};

/// The longest tag in bytes (section 5.11.4).
pub const TAG_MAX: usize = 36;

/// The queue for what must not wait behind other requests, and the one for those.
const QUEUES: usize = 2;
/// A request is as long as its queue at most; Linux makes them of 256 pages and a few headers.
const QUEUE_SIZES: [u16; QUEUES] = [128, 1024];
const REQUEST_QUEUES: u32 = 1;

/// So many requests are served before whoever calls gets to see to other things.
const BATCH: usize = 64;

/// The device. A vCPU that notifies it only wakes the host's thread, which calls
/// [`VirtioFs::process`].
pub struct VirtioFs {
    tag: String,
    waker: Arc<dyn Waker>,
    inner: Mutex<Inner>,
}

struct Inner {
    backend: Box<dyn FsBackend>,
    active: Option<Activation>,
}

impl VirtioFs {
    /// The device of the folder that `backend` serves. The guest mounts it as `tag`, of which the
    /// first [`TAG_MAX`] bytes count.
    #[must_use]
    pub fn new(tag: &str, backend: Box<dyn FsBackend>, waker: Arc<dyn Waker>) -> Arc<Self> {
        Arc::new(VirtioFs {
            tag: tag[..tag.floor_char_boundary(TAG_MAX)].to_owned(),
            waker,
            inner: Mutex::new(Inner {
                backend,
                active: None,
            }),
        })
    }

    /// Serves the requests that the driver has made. Returns whether to be called again at once;
    /// otherwise when woken. Called on the machine's I/O thread.
    pub fn process(&self) -> bool {
        (0..BATCH).all(|_| self.serve_next())
    }

    /// Serves one request of each queue; returns whether there was any. The lock is held while a
    /// request is served, so that a reset waits for it.
    fn serve_next(&self) -> bool {
        let mut inner = lock(&self.inner);
        let Inner { backend, active } = &mut *inner;
        let Some(active) = active else {
            return false;
        };
        let mut any = false;
        for queue in &active.queues {
            let Some(chain) = queue.pop() else {
                continue;
            };
            any = true;
            match serve(backend.as_mut(), &chain) {
                Ok(written) => queue.push(&chain, written),
                Err(BadChain) => active.signals.needs_reset(),
            }
        }
        any
    }

    /// What the guest can observe of the device itself.
    #[must_use]
    pub fn save(&self) -> FsState {
        FsState {
            tag: self.tag.clone(),
        }
    }

    /// Continues from a saved state.
    ///
    /// # Errors
    /// When the state is of another share.
    pub fn restore(&self, saved: &FsState) -> Result<(), StateError> {
        if saved.tag == self.tag {
            return Ok(());
        }
        let reason = format!("it is of share {}, here is {}", saved.tag, self.tag);
        Err(StateError::new("virtio file system", reason))
    }
}

/// Serves a request; returns how many bytes of the reply were written.
fn serve(backend: &mut dyn FsBackend, chain: &Chain) -> Result<u32, BadChain> {
    let (request, reply) = chain.buffers()?;
    let request: Vec<_> = request.slices().collect();
    let reply: Vec<_> = reply.slices().collect();
    Ok(backend.serve(&request, &reply) as u32)
}

impl VirtioDevice for VirtioFs {
    fn device_id(&self) -> u16 {
        VIRTIO_ID_FS as u16
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// `struct virtio_fs_config` (section 5.11.4).
    fn config_read(&self, offset: u64, data: &mut [u8]) {
        let mut config = [0; TAG_MAX + 4];
        config[..self.tag.len()].copy_from_slice(self.tag.as_bytes());
        config[TAG_MAX..].copy_from_slice(&REQUEST_QUEUES.to_le_bytes());
        put_from(data, &config, offset);
    }

    fn activate(&self, activation: Activation) {
        lock(&self.inner).active = Some(activation);
    }

    fn waker(&self) -> Option<&Arc<dyn Waker>> {
        Some(&self.waker)
    }

    fn reset(&self) {
        let mut inner = lock(&self.inner);
        if inner.active.take().is_some() {
            inner.backend.reset();
        }
    }

    fn save_state(&self) -> DeviceState {
        DeviceState::Fs(self.save())
    }

    fn restore_state(&self, saved: &DeviceState) -> Result<(), StateError> {
        match saved {
            DeviceState::Fs(saved) => self.restore(saved),
            other => Err(other.mismatch("virtio file system")),
        }
    }
}
