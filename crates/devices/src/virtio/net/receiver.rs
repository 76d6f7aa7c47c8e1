use std::io::Write;

use super::NetBackend;
use crate::virtio::{BadChain, Chain, VirtQueue};

/// Where the header says over how many buffers the packet is spread.
const BUFFER_COUNT: usize = 10;

/// Brings packets into the driver's buffers.
#[derive(Default)]
pub(super) struct Receiver {
    /// The packet that is next, empty if there is none. It waits here for buffers; the driver
    /// cannot see it, and a packet may get lost, so it is not part of the device's state.
    packet: Vec<u8>,
}

/// How far a packet came.
enum Placed {
    Whole,
    /// There are too few buffers.
    Waits,
    /// It fits nowhere.
    Dropped,
}

impl Receiver {
    /// Puts up to `limit` packets into buffers; returns how many.
    pub(super) fn receive(
        &mut self,
        queue: &VirtQueue,
        mergeable: bool,
        backend: &mut dyn NetBackend,
        limit: usize,
    ) -> Result<usize, BadChain> {
        for done in 0..limit {
            if self.packet.is_empty() && !backend.receive(&mut self.packet) {
                return Ok(done);
            }
            match self.place(queue, mergeable)? {
                Placed::Whole | Placed::Dropped => self.packet.clear(),
                Placed::Waits => return Ok(done),
            }
        }
        Ok(limit)
    }

    fn place(&mut self, queue: &VirtQueue, mergeable: bool) -> Result<Placed, BadChain> {
        let mut room = 0;
        let mut chains: Vec<(Chain, usize)> = Vec::new();
        while room < self.packet.len() {
            // A driver may offer buffers without room for ever.
            let tried = chains.len() >= usize::from(queue.size());
            let Some(chain) = queue.pop().filter(|_| !tried) else {
                queue.put_back(chains.len());
                return Ok(Placed::Waits);
            };
            let size = chain.room()?;
            room += size;
            chains.push((chain, size));
            if !mergeable && room < self.packet.len() {
                queue.put_back(chains.len());
                return Ok(Placed::Dropped);
            }
        }
        let count = u16::try_from(chains.len()).unwrap_or(u16::MAX);
        if let Some(field) = self.packet.get_mut(BUFFER_COUNT..BUFFER_COUNT + 2) {
            field.copy_from_slice(&count.to_le_bytes());
        }
        let mut rest = self.packet.as_slice();
        for (chain, size) in &chains {
            let (piece, after) = rest.split_at(rest.len().min(*size));
            chain.writer()?.write_all(piece).map_err(|_| BadChain)?;
            rest = after;
        }
        // At once: a driver that sees the first of a packet's buffers wants them all (section
        // 5.1.6.4.1).
        let mut rest = self.packet.len();
        queue.push_together(chains.iter().map(|(chain, size)| {
            let written = rest.min(*size);
            rest -= written;
            (chain, written as u32)
        }));
        Ok(Placed::Whole)
    }
}
