use std::sync::{Arc, Mutex};

use clade_engine::{GuestRam, PAGE_SIZE};
use virtio_bindings::virtio_ids::VIRTIO_ID_BALLOON;
use vm_memory::GuestAddress;

use super::BalloonState;
use crate::StateError;
use crate::little_endian::put_from;
use crate::sync::lock;
use crate::virtio::{
    Activation, BadChain, Chain, DeviceState, GuestBuffer, GuestSlice, VirtioDevice, Waker,
};

/// Feature bits (section 5.5.3).
const DEFLATE_ON_OOM: u64 = 1 << 2;
const PAGE_REPORTING: u64 = 1 << 5;

/// Queues of which the requests ask for something; that between them tells what comes back. Those of
/// features that are not offered take no number.
const INFLATE: usize = 0;
const REPORTING: usize = 2;
const QUEUE_SIZES: [u16; 3] = [128, 128, 128];

/// Page numbers that are looked at in one request. Linux sends 256 at most.
const PAGES_MAX: usize = 16 << 10;
/// So many requests are answered before whoever calls gets to see to other things.
const REQUESTS_AT_ONCE: usize = 64;

/// Where `actual` is in the configuration structure; `num_pages` is before it.
const ACTUAL: u64 = 4;

/// Gives guest memory back to the host.
pub trait MemoryReclaim: Send + Sync {
    /// Takes what is in `memory`, whole pages of the guest's RAM. The guest may use it again at
    /// any time, and then reads zeros.
    fn reclaim(&self, memory: &GuestSlice<'_>);
}

/// A balloon. A vCPU that notifies it only wakes the host's thread, which calls
/// [`VirtioBalloon::process`].
pub struct VirtioBalloon {
    ram: Arc<GuestRam>,
    reclaim: Box<dyn MemoryReclaim>,
    waker: Arc<dyn Waker>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    state: BalloonState,
    active: Option<Activation>,
}

impl VirtioBalloon {
    /// A balloon with nothing in it, for the guest whose memory `ram` is.
    #[must_use]
    pub fn new(
        ram: Arc<GuestRam>,
        reclaim: Box<dyn MemoryReclaim>,
        waker: Arc<dyn Waker>,
    ) -> Arc<Self> {
        Arc::new(Self {
            ram,
            reclaim,
            waker,
            inner: Mutex::default(),
        })
    }

    /// Asks the guest for so many pages of 4 KiB, and tells it by an interrupt. Returns whether a
    /// driver took note; one that comes later will.
    pub fn set_target(&self, pages: u32) -> bool {
        let mut inner = lock(&self.inner);
        inner.state.target = pages;
        if let Some(active) = &inner.active {
            active.signals.config_changed();
        }
        inner.active.is_some()
    }

    /// What the guest can observe of the device itself.
    #[must_use]
    pub fn save(&self) -> BalloonState {
        lock(&self.inner).state
    }

    /// Continues from a saved state.
    pub fn restore(&self, saved: &BalloonState) {
        lock(&self.inner).state = *saved;
    }

    /// Answers the requests that the driver has made. Returns whether to be called again at once;
    /// otherwise when woken. Called on the machine's I/O thread.
    pub fn process(&self) -> bool {
        let inner = lock(&self.inner);
        let Some(active) = &inner.active else {
            return false;
        };
        let mut more = false;
        for (index, queue) in active.queues.iter().enumerate() {
            let requests = std::iter::from_fn(|| queue.pop()).take(REQUESTS_AT_ONCE);
            let mut count = 0;
            for chain in requests {
                count += 1;
                match self.serve(index, &chain) {
                    Ok(()) => queue.push(&chain, 0),
                    Err(BadChain) => active.signals.needs_reset(),
                }
            }
            more |= count == REQUESTS_AT_ONCE;
        }
        more
    }

    fn serve(&self, queue: usize, chain: &Chain) -> Result<(), BadChain> {
        let (numbers, pages) = chain.buffers()?;
        match queue {
            INFLATE => self.reclaim(&self.named(&numbers)?),
            // Section 5.5.6.3: the pages themselves are the buffer.
            REPORTING => self.reclaim(&pages),
            // Deflating: memory comes back when it is touched.
            _ => {}
        }
        Ok(())
    }

    /// The pages whose numbers stand in `numbers`, neighbours in one piece.
    fn named(&self, numbers: &GuestBuffer) -> Result<GuestBuffer, BadChain> {
        let mut bytes = vec![0; numbers.len().min(4 * PAGES_MAX as u64) as usize];
        numbers.copy_to(&mut bytes);
        let (numbers, _) = bytes.as_chunks();
        let mut runs: Vec<(u64, u32)> = Vec::new();
        for number in numbers.iter().map(|bytes| u32::from_le_bytes(*bytes)) {
            let start = u64::from(number) * PAGE_SIZE;
            match runs.last_mut() {
                Some((first, length)) if *first + u64::from(*length) == start => {
                    *length += PAGE_SIZE as u32;
                }
                _ => runs.push((start, PAGE_SIZE as u32)),
            }
        }
        let pieces = runs.into_iter();
        GuestBuffer::new(
            self.ram.clone(),
            pieces.map(|(start, length)| (GuestAddress(start), length)),
        )
    }

    /// Takes the whole pages in a buffer.
    fn reclaim(&self, pages: &GuestBuffer) {
        let page = PAGE_SIZE as usize;
        for slice in pages.slices() {
            let address = slice.ptr_guard().as_ptr() as usize;
            let before = address.next_multiple_of(page) - address;
            let length = slice.len().saturating_sub(before) / page * page;
            if length > 0
                && let Ok(whole) = slice.subslice(before, length)
            {
                self.reclaim.reclaim(&whole);
            }
        }
        pages.mark_dirty();
    }
}

impl VirtioDevice for VirtioBalloon {
    fn device_id(&self) -> u16 {
        VIRTIO_ID_BALLOON as u16
    }

    fn features(&self) -> u64 {
        DEFLATE_ON_OOM | PAGE_REPORTING
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    fn config_read(&self, offset: u64, data: &mut [u8]) {
        let BalloonState { target, actual } = lock(&self.inner).state;
        let structure = u64::from(target) | u64::from(actual) << 32;
        put_from(data, &structure.to_le_bytes(), offset);
    }

    fn config_write(&self, offset: u64, data: &[u8]) {
        if let (ACTUAL, Ok(bytes)) = (offset, data.try_into()) {
            lock(&self.inner).state.actual = u32::from_le_bytes(bytes);
        }
    }

    fn activate(&self, activation: Activation) {
        lock(&self.inner).active = Some(activation);
    }

    fn waker(&self) -> Option<&Arc<dyn Waker>> {
        Some(&self.waker)
    }

    fn reset(&self) {
        let mut inner = lock(&self.inner);
        inner.active = None;
        inner.state.actual = 0;
    }

    fn save_state(&self) -> DeviceState {
        DeviceState::Balloon(self.save())
    }

    fn restore_state(&self, saved: &DeviceState) -> Result<(), StateError> {
        match saved {
            DeviceState::Balloon(saved) => {
                self.restore(saved);
                Ok(())
            }
            other => Err(other.mismatch("balloon")),
        }
    }
}
