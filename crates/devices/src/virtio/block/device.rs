use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use virtio_bindings::virtio_ids::VIRTIO_ID_BLOCK;

use super::config::{self, QUEUE_SIZE, feature};
use super::in_flight::{InFlight, Pending};
use super::request::{self, Action, ID_LENGTH, status};
use super::{BlockBackend, BlockInfo, BlockState};
use crate::StateError;
use crate::little_endian::put_from;
use crate::sync::lock;
use crate::virtio::{Activation, Chain, DeviceState, GuestBuffer, VirtQueue, VirtioDevice, Waker};

/// So many requests are begun before the finished ones are given back.
const BATCH: usize = 16;

/// So many batches are worked on before whoever calls gets to see to other things.
const BATCHES_AT_ONCE: usize = 64;

/// What a disk's device is to be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockOptions {
    /// What the guest sees as the disk's serial number; of more than 20 bytes the first 20.
    pub serial: String,
    /// Number of queues, at least 1: as many as there are vCPUs, so that each can have its own.
    pub queues: u16,
}

/// The device. A vCPU that notifies it only wakes the host's thread, which calls
/// [`VirtioBlock::process`].
pub struct VirtioBlock {
    info: BlockInfo,
    serial: String,
    queue_sizes: Vec<u16>,
    write_back: AtomicBool,
    waker: Arc<dyn Waker>,
    inner: Mutex<Inner>,
}

struct Inner {
    backend: Box<dyn BlockBackend>,
    active: Option<Activation>,
    in_flight: InFlight,
}

impl VirtioBlock {
    /// The device of the disk that `backend` keeps. Nothing is begun there before.
    #[must_use]
    pub fn new(
        backend: Box<dyn BlockBackend>,
        options: BlockOptions,
        waker: Arc<dyn Waker>,
    ) -> Arc<Self> {
        let mut serial = options.serial;
        let cut = (0..=ID_LENGTH)
            .rev()
            .find(|&at| serial.is_char_boundary(at));
        serial.truncate(cut.unwrap_or(0));
        Arc::new(VirtioBlock {
            info: backend.info(),
            serial,
            queue_sizes: vec![QUEUE_SIZE; options.queues.max(1).into()],
            write_back: AtomicBool::new(true),
            waker,
            inner: Mutex::new(Inner {
                backend,
                active: None,
                in_flight: InFlight::new(),
            }),
        })
    }

    /// Works on the requests that the driver has made, and gives back those that are finished.
    /// Returns whether to be called again at once; otherwise when woken, or when the backend has
    /// something completed. Called on the machine's I/O thread.
    pub fn process(&self) -> bool {
        let mut inner = lock(&self.inner);
        for _ in 0..BATCHES_AT_ONCE {
            let begun = self.begin_batch(&mut inner);
            inner.backend.submit();
            if !inner.finish() && !begun {
                return false;
            }
        }
        true
    }

    /// What the guest can observe of the device itself. Waits for requests that are being worked
    /// on: a state has none.
    #[must_use]
    pub fn save(&self) -> BlockState {
        let mut inner = lock(&self.inner);
        inner.backend.drain();
        inner.finish();
        BlockState {
            capacity: self.info.capacity,
            read_only: self.info.read_only,
            discard_granularity: self.info.discard_granularity,
            serial: self.serial.clone(),
            queues: self.queue_count(),
            write_back: self.write_back.load(Ordering::Acquire),
        }
    }

    /// Continues from a saved state.
    ///
    /// # Errors
    /// When the state is of another disk.
    pub fn restore(&self, saved: &BlockState) -> Result<(), StateError> {
        let here = BlockState {
            write_back: saved.write_back,
            ..self.save()
        };
        if *saved != here {
            let reason = format!("it is of another disk ({saved:?}, here is {here:?})");
            return Err(StateError::new("virtio disk", reason));
        }
        self.write_back.store(saved.write_back, Ordering::Release);
        Ok(())
    }

    fn queue_count(&self) -> u16 {
        self.queue_sizes.len() as u16
    }

    /// Begins up to [`BATCH`] requests of each queue; returns whether there were any.
    fn begin_batch(&self, inner: &mut Inner) -> bool {
        let Some(active) = inner.active.clone() else {
            return false;
        };
        let durable = !self.caches_writes(active.features);
        let mut begun = false;
        for (index, queue) in (0..).zip(&active.queues) {
            for _ in 0..BATCH {
                if inner.in_flight.is_full() {
                    return begun;
                }
                let Some(chain) = queue.pop() else {
                    break;
                };
                begun = true;
                if self.begin(inner, index, queue, chain, durable).is_err() {
                    active.signals.needs_reset();
                }
            }
        }
        begun
    }

    fn begin(
        &self,
        inner: &mut Inner,
        index: u16,
        queue: &VirtQueue,
        chain: Chain,
        durable: bool,
    ) -> Result<(), crate::virtio::BadChain> {
        let request = request::parse(&chain, &self.info, durable)?;
        match request.action {
            Action::Disk(operation, written) => {
                let tag = inner.in_flight.insert(Pending {
                    queue: index,
                    chain,
                    status: request.status,
                    written,
                });
                inner.backend.begin(tag, operation);
            }
            Action::Identify(buffer) => {
                let written = self.identify(&buffer);
                finish(queue, &chain, &request.status, status::OK, written);
            }
            Action::Finished(code) => finish(queue, &chain, &request.status, code, 0),
        }
        Ok(())
    }

    /// Writes the serial number, padded with zeroes.
    fn identify(&self, buffer: &GuestBuffer) -> u32 {
        let mut id = [0; ID_LENGTH];
        id[..self.serial.len()].copy_from_slice(self.serial.as_bytes());
        buffer.copy_from(&id) as u32
    }

    /// Whether completed writes may still be lost (section 5.2.5.2): a driver that cannot flush
    /// must not lose any.
    fn caches_writes(&self, features: u64) -> bool {
        if features & feature::WRITE_CACHE != 0 {
            return self.write_back.load(Ordering::Acquire);
        }
        features & feature::FLUSH != 0
    }
}

impl Inner {
    /// Gives back what is complete, all of a queue at once so that its driver is interrupted once; returns
    /// whether there was anything.
    fn finish(&mut self) -> bool {
        let mut any = false;
        let mut finished = Vec::new();
        while let Some((tag, result)) = self.backend.completed() {
            any = true;
            let done = self.in_flight.remove(tag);
            finished.extend(done.map(|done| (done, result)));
        }
        let Some(active) = &self.active else {
            return any;
        };
        for (index, queue) in (0..).zip(&active.queues) {
            let own = finished.iter().filter(|(done, _)| done.queue == index);
            let used = own.map(|(done, result)| {
                let (code, written) = match result {
                    Ok(()) => (status::OK, done.written),
                    Err(_) => (status::ERROR, 0),
                };
                let status = done.status.copy_from(&[code]) as u32;
                (&done.chain, written.saturating_add(status))
            });
            queue.push_together(used);
        }
        any
    }

    /// Waits for what is being worked on, and forgets it.
    fn abandon(&mut self) {
        self.active = None;
        self.backend.drain();
        self.finish();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// Gives a request back, with its status and the number of bytes written before that.
fn finish(queue: &VirtQueue, chain: &Chain, place: &GuestBuffer, code: u8, written: u32) {
    let status = place.copy_from(&[code]) as u32;
    queue.push(chain, written.saturating_add(status));
}

impl VirtioDevice for VirtioBlock {
    fn device_id(&self) -> u16 {
        VIRTIO_ID_BLOCK as u16
    }

    fn features(&self) -> u64 {
        config::features(&self.info)
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn config_read(&self, offset: u64, data: &mut [u8]) {
        let write_back = self.write_back.load(Ordering::Acquire);
        let bytes = config::structure(&self.info, self.queue_count(), write_back);
        put_from(data, &bytes, offset);
    }

    fn config_write(&self, offset: u64, data: &[u8]) {
        if let (true, &[value]) = (offset == config::WRITE_BACK as u64, data) {
            self.write_back.store(value != 0, Ordering::Release);
        }
    }

    fn activate(&self, activation: Activation) {
        lock(&self.inner).active = Some(activation);
    }

    fn waker(&self) -> Option<&Arc<dyn Waker>> {
        Some(&self.waker)
    }

    fn reset(&self) {
        lock(&self.inner).abandon();
        self.write_back.store(true, Ordering::Release);
    }

    fn save_state(&self) -> DeviceState {
        DeviceState::Block(self.save())
    }

    fn restore_state(&self, saved: &DeviceState) -> Result<(), StateError> {
        match saved {
            DeviceState::Block(saved) => self.restore(saved),
            other => Err(other.mismatch("virtio disk")),
        }
    }
}
