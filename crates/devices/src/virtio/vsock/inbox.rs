use std::io::Write;

use super::packet::{HEADER, Header};
use crate::virtio::{Activation, Chain, VirtQueue};

/// The guest's buffers for what the host sends: the receive queue. One that is found not to be
/// needed is given back.
pub(super) struct Inbox<'a> {
    active: &'a Activation,
    queue: &'a VirtQueue,
    /// The next buffer, and its size.
    next: Option<(Chain, usize)>,
}

impl<'a> Inbox<'a> {
    pub(super) fn new(active: &'a Activation, queue: &'a VirtQueue) -> Self {
        Inbox {
            active,
            queue,
            next: None,
        }
    }

    /// How much payload the next packet can have; none if there is no buffer.
    pub(super) fn room(&mut self) -> Option<usize> {
        if self.next.is_none() {
            let chain = self.queue.pop()?;
            match chain.writable() {
                Ok(size) if size >= HEADER => self.next = Some((chain, size)),
                // Too small for any packet, or not in memory.
                _ => self.active.signals.needs_reset(),
            }
        }
        self.next.as_ref().map(|(_, size)| size - HEADER)
    }

    /// Gives the guest a packet. Returns whether there was a buffer for it.
    pub(super) fn put(&mut self, header: &Header, payload: &[u8]) -> bool {
        if self.room().is_none() {
            return false;
        }
        let Some((chain, _)) = self.next.take() else {
            return false;
        };
        let written = chain.writer().is_ok_and(|mut writer| {
            let header = writer.write_all(&header.to_bytes());
            header.and_then(|()| writer.write_all(payload)).is_ok()
        });
        if written {
            self.queue.push(&chain, (HEADER + payload.len()) as u32);
        } else {
            self.active.signals.needs_reset();
        }
        written
    }
}

impl Drop for Inbox<'_> {
    fn drop(&mut self) {
        if let Some((chain, _)) = self.next.take() {
            self.queue.unpop(&chain);
        }
    }
}
