use std::sync::{Arc, Mutex};

use clade_engine::Entropy;
use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;

use crate::sync::lock;
use crate::virtio::{Activation, BadChain, Chain, VirtioDevice, Waker};

const QUEUE_SIZES: [u16; 1] = [64];

/// Most bytes for one request. A driver that wants more asks again (section 5.4.6.1).
const BYTES_MAX: usize = 4096;

/// So many requests are answered before whoever calls gets to see to other things.
const REQUESTS_AT_ONCE: usize = 256;

/// The device. It has no state of its own: what the transport keeps is all. A vCPU that notifies
/// it only wakes the host's thread, which calls [`VirtioRng::process`].
pub struct VirtioRng {
    entropy: Arc<dyn Entropy>,
    waker: Arc<dyn Waker>,
    active: Mutex<Option<Activation>>,
}

impl VirtioRng {
    /// A device that hands out what comes from `entropy`.
    #[must_use]
    pub fn new(entropy: Arc<dyn Entropy>, waker: Arc<dyn Waker>) -> Arc<Self> {
        Arc::new(VirtioRng {
            entropy,
            waker,
            active: Mutex::new(None),
        })
    }

    /// Answers the requests that the driver has made. Returns whether to be called again at once;
    /// otherwise when woken. Called on the machine's I/O thread.
    pub fn process(&self) -> bool {
        let active = lock(&self.active);
        let Some(active) = &*active else {
            return false;
        };
        let [queue] = &active.queues[..] else {
            return false;
        };
        for _ in 0..REQUESTS_AT_ONCE {
            let Some(chain) = queue.pop() else {
                return false;
            };
            match self.answer(&chain) {
                Ok(written) => queue.push(&chain, written),
                Err(BadChain) => active.signals.needs_reset(),
            }
        }
        true
    }

    fn answer(&self, chain: &Chain) -> Result<u32, BadChain> {
        let (_, buffer) = chain.buffers()?;
        let mut bytes = [0; BYTES_MAX];
        let length = buffer.len().min(BYTES_MAX as u64) as usize;
        self.entropy.fill(&mut bytes[..length]);
        Ok(buffer.copy_from(&bytes[..length]) as u32)
    }
}

impl VirtioDevice for VirtioRng {
    fn device_id(&self) -> u16 {
        VIRTIO_ID_RNG as u16
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn config_read(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn activate(&self, activation: Activation) {
        *lock(&self.active) = Some(activation);
    }

    fn waker(&self) -> Option<&Arc<dyn Waker>> {
        Some(&self.waker)
    }

    fn reset(&self) {
        *lock(&self.active) = None;
    }
}
