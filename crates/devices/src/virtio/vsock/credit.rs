//! Flow control (section 5.10.6.3): neither side sends more than the other has room for. Counters
//! run over.

use super::packet::Header;

/// How much the host buffers of what a guest sends on one connection, in bytes.
pub(super) const BUFFER: u32 = 128 << 10;

/// What the guest has room for.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    buffer_size: u32,
    forwarded: u32,
    sent: u32,
}

impl Outgoing {
    /// Every packet of the guest's says what it has room for.
    pub(super) fn update(&mut self, header: &Header) {
        self.buffer_size = header.buffer_size;
        self.forwarded = header.forwarded;
    }

    pub(super) fn room(&self) -> usize {
        let under_way = self.sent.wrapping_sub(self.forwarded);
        self.buffer_size.saturating_sub(under_way) as usize
    }

    pub(super) fn send(&mut self, bytes: usize) {
        self.sent = self.sent.wrapping_add(bytes as u32);
    }
}

/// What the guest sent.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    received: u32,
    forwarded: u32,
    announced: u32,
}

impl Incoming {
    pub(super) fn receive(&mut self, bytes: usize) {
        self.received = self.received.wrapping_add(bytes as u32);
    }

    pub(super) fn forward(&mut self, bytes: usize) {
        self.forwarded = self.forwarded.wrapping_add(bytes as u32);
    }

    /// What the guest is told in every packet.
    pub(super) fn announce(&mut self) -> u32 {
        self.announced = self.forwarded;
        self.forwarded
    }

    /// Whether the guest, for all that it knows, may be about to run out of room, and there is
    /// more than that.
    pub(super) fn worth_telling(&self) -> bool {
        self.received.wrapping_sub(self.announced) > BUFFER / 2 && self.forwarded != self.announced
    }
}
