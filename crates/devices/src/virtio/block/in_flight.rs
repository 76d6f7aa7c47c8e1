//! Requests that the backend works on.

use crate::virtio::{Chain, GuestBuffer};

/// Most of them at once. A driver that reuses its descriptors too early could otherwise make as
/// many as it likes.
const MAX: u16 = 256;

/// A request that the backend works on.
pub(super) struct Pending {
    pub(super) queue: u16,
    pub(super) chain: Chain,
    pub(super) status: GuestBuffer,
    /// How many bytes of guest memory it writes.
    pub(super) written: u32,
}

/// The requests by their tags.
pub(super) struct InFlight {
    pending: Vec<Option<Pending>>,
    free: Vec<u16>,
}

impl InFlight {
    pub(super) fn new() -> Self {
        InFlight {
            pending: (0..MAX).map(|_| None).collect(),
            free: (0..MAX).rev().collect(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// Keeps a request; returns its tag.
    ///
    /// # Panics
    /// When it is full.
    pub(super) fn insert(&mut self, request: Pending) -> u16 {
        let tag = self.free.pop().expect("asked before whether it is full");
        self.pending[usize::from(tag)] = Some(request);
        tag
    }

    pub(super) fn remove(&mut self, tag: u16) -> Option<Pending> {
        let request = self.pending.get_mut(usize::from(tag))?.take()?;
        self.free.push(tag);
        Some(request)
    }
}
