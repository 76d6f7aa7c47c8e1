//! Split virtqueues (section 2.7) from the device's side, over a hostile driver.

use std::io::{Read, Write};
use std::num::Wrapping;
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex};

use clade_engine::GuestRam;
use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::desc::split::Descriptor;
use virtio_queue::{DescriptorChain, Error, Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress};

use super::{GuestBuffer, QueueState, Signals};
use crate::sync::lock;

/// Where the rings' parts are, in bytes (sections 2.7.6 and 2.7.8).
const USED_INDEX: u64 = 2;
const USED_ELEMENTS: u64 = 4;
const USED_ELEMENT_SIZE: u64 = 8;
const AVAILABLE_RING: u64 = 4;

/// A queue of buffers that a driver offers to its device.
pub struct VirtQueue {
    index: u16,
    ram: Arc<GuestRam>,
    signals: Arc<Signals>,
    inner: Mutex<Inner>,
}

struct Inner {
    queue: Queue,
    /// Grows with every reset, so that a buffer popped before is not pushed after.
    generation: u64,
}

/// A buffer that the driver offered: guest memory in pieces, some for the device to read, then
/// some for it to write. To be given back with [`VirtQueue::push`].
pub struct Chain {
    descriptors: DescriptorChain<Arc<GuestRam>>,
    ram: Arc<GuestRam>,
    generation: u64,
}

/// A buffer lies outside of guest memory: the driver is broken, and the device should say
/// [`Signals::needs_reset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the driver offered a buffer outside of guest memory")]
pub struct BadChain;

impl Chain {
    /// All of it at once: what is for the device to read, and what is for it to write.
    ///
    /// # Errors
    /// When a piece lies outside of guest memory.
    pub fn buffers(&self) -> Result<(GuestBuffer, GuestBuffer), BadChain> {
        let piece = |descriptor: Descriptor| (descriptor.addr(), descriptor.len());
        let readable = self.descriptors.clone().readable().map(piece);
        let writable = self.descriptors.clone().writable().map(piece);
        Ok((
            GuestBuffer::new(self.ram.clone(), readable)?,
            GuestBuffer::new(self.ram.clone(), writable)?,
        ))
    }

    /// Reads what the driver wrote for the device.
    ///
    /// # Errors
    /// When a piece lies outside of guest memory.
    pub fn reader(&self) -> Result<impl Read, BadChain> {
        virtio_queue::Reader::new(self.descriptors.memory(), self.descriptors.clone())
            .map_err(|_| BadChain)
    }

    /// How many bytes the device may write into it.
    ///
    /// # Errors
    /// When a piece lies outside of guest memory.
    pub fn writable(&self) -> Result<usize, BadChain> {
        virtio_queue::Writer::new(self.descriptors.memory(), self.descriptors.clone())
            .map(|writer| writer.available_bytes())
            .map_err(|_| BadChain)
    }

    /// Writes what the driver asked the device for, up to the room that it left; marks the pages
    /// as written.
    ///
    /// # Errors
    /// When a piece lies outside of guest memory.
    pub fn writer(&self) -> Result<impl Write, BadChain> {
        virtio_queue::Writer::new(self.descriptors.memory(), self.descriptors.clone())
            .map_err(|_| BadChain)
    }

    /// How much room there is for the device to write, in bytes.
    ///
    /// # Errors
    /// When a piece lies outside of guest memory.
    pub fn room(&self) -> Result<usize, BadChain> {
        virtio_queue::Writer::new(self.descriptors.memory(), self.descriptors.clone())
            .map(|writer| writer.available_bytes())
            .map_err(|_| BadChain)
    }
}

impl VirtQueue {
    /// A disabled queue with up to `max_size` (a power of two up to 32768) descriptors.
    pub(super) fn new(
        index: u16,
        max_size: u16,
        ram: Arc<GuestRam>,
        signals: Arc<Signals>,
    ) -> Result<Arc<Self>, Error> {
        let queue = Queue::new(max_size)?;
        Ok(Arc::new(VirtQueue {
            index,
            ram,
            signals,
            inner: Mutex::new(Inner {
                queue,
                generation: 0,
            }),
        }))
    }

    /// Takes the next buffer, or none when there is none, the driver has not enabled the queue,
    /// or the device needs a reset. After none, the driver notifies the device of the next.
    #[must_use]
    pub fn pop(&self) -> Option<Chain> {
        let mut inner = lock(&self.inner);
        if !self.signals.running() {
            return None;
        }
        inner.pop(&self.ram).unwrap_or_else(|_| {
            self.signals.needs_reset();
            None
        })
    }

    /// Undoes the last [`VirtQueue::pop`]: the buffer that it took is the next one again. Does
    /// nothing if the queue was reset meanwhile.
    pub fn unpop(&self, chain: &Chain) {
        let mut inner = lock(&self.inner);
        if chain.generation == inner.generation {
            let next = inner.queue.next_avail().wrapping_sub(1);
            inner.queue.set_next_avail(next);
        }
    }

    /// Gives a buffer back, with the number of bytes written into it, and interrupts the driver
    /// if it wants that. Does nothing if the queue was reset meanwhile.
    pub fn push(&self, chain: &Chain, written: u32) {
        self.push_together([(chain, written)]);
    }

    /// As [`VirtQueue::push`], for several buffers: the driver sees all of them at once.
    pub fn push_together<'a>(&self, used: impl IntoIterator<Item = (&'a Chain, u32)>) {
        let mut inner = lock(&self.inner);
        if !self.signals.running() {
            return;
        }
        let generation = inner.generation;
        let current = used
            .into_iter()
            .filter(|(chain, _)| chain.generation == generation)
            .map(|(chain, written)| (chain.descriptors.head_index(), written));
        match inner.push(&self.ram, current) {
            Ok(true) => self.signals.queue_used(self.index),
            Ok(false) => {}
            Err(_) => self.signals.needs_reset(),
        }
    }

    /// Makes the last `count` buffers that were taken, and not pushed, the next ones to be taken.
    pub fn put_back(&self, count: usize) {
        let mut inner = lock(&self.inner);
        let next = inner.queue.next_avail().wrapping_sub(count as u16);
        if self.signals.running() && inner.queue.ready() {
            inner.queue.set_next_avail(next);
        }
    }

    /// The number of descriptors that the driver chose: the most buffers it can offer at once.
    #[must_use]
    pub fn size(&self) -> u16 {
        lock(&self.inner).queue.size()
    }

    pub(super) fn max_size(&self) -> u16 {
        lock(&self.inner).queue.max_size()
    }

    pub(super) fn enabled(&self) -> bool {
        lock(&self.inner).queue.ready()
    }

    /// Lets the driver configure a queue that it has not enabled (section 4.1.4.3.2); values that
    /// are not allowed are ignored.
    pub(super) fn configure(&self, configure: impl FnOnce(&mut Queue)) {
        let mut inner = lock(&self.inner);
        if !inner.queue.ready() {
            configure(&mut inner.queue);
        }
    }

    /// Enables the queue, if its rings lie in guest memory; otherwise the device needs a reset.
    pub(super) fn enable(&self) {
        let mut inner = lock(&self.inner);
        inner.queue.set_ready(true);
        if !inner.queue.is_valid(&*self.ram) {
            inner.queue.set_ready(false);
            self.signals.needs_reset();
        }
    }

    pub(super) fn disable(&self) {
        let mut inner = lock(&self.inner);
        inner.queue.set_ready(false);
        inner.generation += 1;
    }

    pub(super) fn set_event_index(&self, used: bool) {
        lock(&self.inner).queue.set_event_idx(used);
    }

    pub(super) fn reset(&self) {
        let mut inner = lock(&self.inner);
        inner.queue.reset();
        inner.generation += 1;
    }

    pub(super) fn save(&self) -> QueueState {
        let inner = lock(&self.inner);
        QueueState {
            size: inner.queue.size(),
            enabled: inner.queue.ready(),
            descriptors: inner.queue.desc_table(),
            available: inner.queue.avail_ring(),
            used: inner.queue.used_ring(),
            next_available: inner.queue.next_avail(),
            next_used: inner.queue.next_used(),
        }
    }

    /// The queue of a saved state, or none if no driver can have made it so.
    pub(super) fn restored(&self, saved: &QueueState, event_index: bool) -> Option<Queue> {
        let mut queue = Queue::new(self.max_size()).ok()?;
        queue.try_set_size(saved.size).ok()?;
        queue
            .try_set_desc_table_address(GuestAddress(saved.descriptors))
            .ok()?;
        queue
            .try_set_avail_ring_address(GuestAddress(saved.available))
            .ok()?;
        queue
            .try_set_used_ring_address(GuestAddress(saved.used))
            .ok()?;
        queue.set_next_avail(saved.next_available);
        queue.set_next_used(saved.next_used);
        queue.set_event_idx(event_index);
        queue.set_ready(saved.enabled);
        (!saved.enabled || queue.is_valid(&*self.ram)).then_some(queue)
    }

    pub(super) fn replace(&self, queue: Queue) {
        let mut inner = lock(&self.inner);
        inner.queue = queue;
        inner.generation += 1;
    }
}

impl Inner {
    fn pop(&mut self, ram: &Arc<GuestRam>) -> Result<Option<Chain>, Error> {
        if !self.queue.ready() {
            return Ok(None);
        }
        if let Some(chain) = self.next(ram)? {
            return Ok(Some(chain));
        }
        // With event indices the driver must be told from which buffer on to notify us. One that
        // it added meanwhile comes without a notification.
        if self.queue.event_idx_enabled() && self.queue.enable_notification(&**ram)? {
            return self.next(ram);
        }
        Ok(None)
    }

    fn next(&mut self, ram: &Arc<GuestRam>) -> Result<Option<Chain>, Error> {
        let Some(descriptors) = self.queue.iter(ram.clone())?.next() else {
            return Ok(None);
        };
        let size = self.queue.size();
        if descriptors.head_index() >= size {
            return Err(Error::InvalidDescriptorIndex);
        }
        // Section 2.7.5.3.1: no chain is longer than the queue, indirect ones included. This
        // bounds what is allocated and walked for one.
        let limit = usize::from(size);
        if descriptors.clone().take(limit + 1).count() > limit {
            return Err(Error::InvalidChain);
        }
        Ok(Some(Chain {
            descriptors,
            ram: ram.clone(),
            generation: self.generation,
        }))
    }

    /// Puts buffers, by their heads and with the bytes written into them, into the used ring;
    /// returns whether the driver wants an interrupt for them.
    fn push(
        &mut self,
        ram: &GuestRam,
        used: impl Iterator<Item = (u16, u32)>,
    ) -> Result<bool, Error> {
        // All of the rings was found to be in guest memory when the queue was enabled.
        let ring = self.queue.used_ring();
        let size = self.queue.size();
        let before = Wrapping(self.queue.next_used());
        let mut next = before;
        for (head, written) in used {
            let slot = u64::from(next.0 % size);
            let element = GuestAddress(ring + USED_ELEMENTS + slot * USED_ELEMENT_SIZE);
            ram.write_obj([u32::from(head).to_le(), written.to_le()], element)
                .map_err(Error::GuestMemory)?;
            next += 1;
        }
        if next == before {
            return Ok(false);
        }
        // Only now: the driver takes whatever stands before this index.
        let index = GuestAddress(ring + USED_INDEX);
        ram.store(next.0.to_le(), index, Ordering::Release)
            .map_err(Error::GuestMemory)?;
        self.queue.set_next_used(next.0);
        self.wants_interrupt(ram, before, next)
    }

    /// Whether the driver wants to hear that the used index went from `before` to `next`.
    fn wants_interrupt(
        &self,
        ram: &GuestRam,
        before: Wrapping<u16>,
        next: Wrapping<u16>,
    ) -> Result<bool, Error> {
        // The driver says what it wants and then looks at the index: so that one of both notices,
        // this must be the other way round (section 2.7.7).
        fence(Ordering::SeqCst);
        let available = self.queue.avail_ring();
        let load = |offset: u64| -> Result<u16, Error> {
            let value: u16 = ram
                .load(GuestAddress(available + offset), Ordering::Relaxed)
                .map_err(Error::GuestMemory)?;
            Ok(u16::from_le(value))
        };
        if self.queue.event_idx_enabled() {
            let event = Wrapping(load(AVAILABLE_RING + 2 * u64::from(self.queue.size()))?);
            return Ok(next - event - Wrapping(1) < next - before);
        }
        // Section 2.7.7: without event indices the driver has a flag to refuse interrupts.
        Ok(u32::from(load(0)?) & VRING_AVAIL_F_NO_INTERRUPT == 0)
    }
}
