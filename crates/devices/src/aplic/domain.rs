//! The controller's rules over its plain state.

use super::{AplicState, SOURCES, WORDS};

/// Fields of `sourcecfg` (section 4.5.2).
const DELEGATE: u32 = 1 << 10;
mod mode {
    pub(super) const MASK: u32 = 0b111;
    pub(super) const DETACHED: u32 = 1;
    pub(super) const EDGE_RISING: u32 = 4;
    pub(super) const EDGE_FALLING: u32 = 5;
    pub(super) const LEVEL_HIGH: u32 = 6;
    pub(super) const LEVEL_LOW: u32 = 7;
}

/// Fields of `target` and `genmsi` with messages (section 4.5.16): bits 17 to 12 are zero where there
/// are no guests.
const HART_INDEX_SHIFT: u32 = 18;
const IDENTITY: u32 = 0x7ff;

/// A message to be sent: the index of a hart, and the number of the interrupt there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    /// Up to 16383, whether there is such a hart or not.
    pub(super) hart: u32,
    pub(super) identity: u32,
}

impl Message {
    pub(super) fn of(target: u32) -> Self {
        Message {
            hart: target >> HART_INDEX_SHIFT,
            identity: target & IDENTITY,
        }
    }
}

/// What `sourcecfg` holds after `value` was written (section 4.5.2).
pub(super) fn legal_source(value: u32, is_leaf: bool) -> u32 {
    match value & mode::MASK {
        // Any domain has one child at most, number 0.
        _ if value & DELEGATE != 0 => {
            if is_leaf {
                0
            } else {
                DELEGATE
            }
        }
        mode @ (mode::DETACHED | mode::EDGE_RISING..=mode::LEVEL_LOW) => mode,
        _ => 0,
    }
}

/// What `target` of an active source, or `genmsi`, holds after `value` was written.
pub(super) fn legal_target(value: u32) -> u32 {
    value & (!0 << HART_INDEX_SHIFT | IDENTITY)
}

fn place(source: usize) -> (usize, u32) {
    (source / 32, 1 << (source % 32))
}

impl AplicState {
    pub(super) fn delegates(&self, domain: usize, source: usize) -> bool {
        self.domains[domain].sources[source] & DELEGATE != 0
    }

    /// Whether the source is the domain's own to handle.
    pub(super) fn is_active(&self, domain: usize, source: usize) -> bool {
        let config = self.domains[domain].sources[source];
        config & DELEGATE == 0 && config != 0
    }

    /// The source's interrupt as the domain sees it, by whatever its mode takes for one.
    fn rectified(&self, domain: usize, source: usize) -> bool {
        let (word, bit) = place(source);
        let high = self.level[word] & bit != 0;
        match self.domains[domain].sources[source] {
            mode::EDGE_RISING | mode::LEVEL_HIGH => high,
            mode::EDGE_FALLING | mode::LEVEL_LOW => !high,
            _ => false,
        }
    }

    fn is_level(&self, domain: usize, source: usize) -> bool {
        matches!(
            self.domains[domain].sources[source],
            mode::LEVEL_HIGH | mode::LEVEL_LOW
        )
    }

    /// A device drives its wire. Returns the message that is then to be sent, with its domain.
    pub(super) fn set_level(&mut self, source: usize, high: bool) -> Option<(usize, Message)> {
        let (word, bit) = place(source);
        if (self.level[word] & bit != 0) == high {
            return None;
        }
        self.level[word] ^= bit;
        let domain = (0..self.domains.len()).find(|&domain| self.is_active(domain, source))?;
        // Section 4.7: an interrupt is its beginning, with a level as with an edge; a level takes it
        // back, too.
        if self.rectified(domain, source) {
            self.domains[domain].pending[word] |= bit;
        } else if self.is_level(domain, source) {
            self.domains[domain].pending[word] &= !bit;
        }
        Some((domain, self.forward(domain, source)?))
    }

    /// Takes what the source has to say, if it may speak now (section 4.9).
    pub(super) fn forward(&mut self, domain: usize, source: usize) -> Option<Message> {
        let (word, bit) = place(source);
        let domain = &mut self.domains[domain];
        if !domain.enabled || domain.pending[word] & domain.enables[word] & bit == 0 {
            return None;
        }
        domain.pending[word] &= !bit;
        Some(Message::of(domain.targets[source]))
    }

    /// A guest writes `sourcecfg`.
    pub(super) fn configure(&mut self, domain: usize, source: usize, value: u32) {
        if domain > 0 && !self.delegates(domain - 1, source) {
            return;
        }
        let is_leaf = domain + 1 == self.domains.len();
        self.domains[domain].sources[source] = legal_source(value, is_leaf);
        let (word, bit) = place(source);
        if !self.is_active(domain, source) {
            self.silence(domain, source);
        } else if self.is_level(domain, source) {
            // A device that interrupts already is not overlooked.
            let pending = self.rectified(domain, source);
            let place = &mut self.domains[domain].pending[word];
            *place = if pending { *place | bit } else { *place & !bit };
        }
        if !self.delegates(domain, source)
            && let Some(child) = self.domains.get_mut(domain + 1)
        {
            child.sources[source] = 0;
            self.silence(domain + 1, source);
        }
    }

    /// The source is not active in the domain any more.
    fn silence(&mut self, domain: usize, source: usize) {
        let (word, bit) = place(source);
        let domain = &mut self.domains[domain];
        domain.pending[word] &= !bit;
        domain.enables[word] &= !bit;
        domain.targets[source] = 0;
    }

    pub(super) fn set_target(&mut self, domain: usize, source: usize, value: u32) {
        if self.is_active(domain, source) {
            self.domains[domain].targets[source] = legal_target(value);
        }
    }

    /// A guest sets pending bits. Section 4.7: that of a level cannot be set while it is not
    /// asserted.
    pub(super) fn set_pending(&mut self, domain: usize, word: usize, bits: u32) {
        let mask = self.mask(word, |state, source| {
            state.is_active(domain, source)
                && (!state.is_level(domain, source) || state.rectified(domain, source))
        });
        self.domains[domain].pending[word] |= bits & mask;
    }

    pub(super) fn set_enables(&mut self, domain: usize, word: usize, bits: u32) {
        let mask = self.mask(word, |state, source| state.is_active(domain, source));
        self.domains[domain].enables[word] |= bits & mask;
    }

    /// The rectified inputs of the sources of one word.
    pub(super) fn inputs(&self, domain: usize, word: usize) -> u32 {
        self.mask(word, |state, source| state.rectified(domain, source))
    }

    /// The bits of those sources in a word that something holds for.
    fn mask(&self, word: usize, holds: impl Fn(&Self, usize) -> bool) -> u32 {
        debug_assert!(word < WORDS);
        (word * 32..(word + 1) * 32)
            .filter(|&source| (1..=SOURCES).contains(&source) && holds(self, source))
            .fold(0, |mask, source| mask | place(source).1)
    }
}
