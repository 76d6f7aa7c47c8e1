//! The controller's rules over its plain state.

use super::{MAX_PRIORITY, PlicState, SOURCES};

fn bit(source: usize) -> (usize, u32) {
    (source / 32, 1 << (source % 32))
}

impl PlicState {
    /// A device drives its wire. Section 3: the gateway of a level-triggered source forwards one
    /// request, and the next only after completion; a request once forwarded stays although the
    /// device lets go.
    pub(super) fn set_level(&mut self, source: usize, asserted: bool) {
        let (word, mask) = bit(source);
        if asserted {
            self.level[word] |= mask;
        } else {
            self.level[word] &= !mask;
        }
        self.forward(word);
    }

    fn forward(&mut self, word: usize) {
        self.pending[word] |= self.level[word] & !self.in_service[word];
    }

    /// Section 9: the pending source of highest priority, the lowest number among equals, or 0.
    /// The threshold has no say in a claim.
    pub(super) fn claim(&mut self, context: usize) -> u32 {
        let Some(source) = self.best(context, 0) else {
            return 0;
        };
        let (word, mask) = bit(source);
        self.pending[word] &= !mask;
        self.in_service[word] |= mask;
        source as u32
    }

    /// Section 10: a completion for a source that the context has not enabled is ignored.
    pub(super) fn complete(&mut self, context: usize, source: u32) {
        let source = source as usize;
        if source >= SOURCES {
            return;
        }
        let (word, mask) = bit(source);
        if self.contexts[context].enabled[word] & mask != 0 {
            self.in_service[word] &= !mask;
            self.forward(word);
        }
    }

    /// Whether the context is to be interrupted (section 8).
    pub(super) fn notifies(&self, context: usize) -> bool {
        self.best(context, self.contexts[context].threshold)
            .is_some()
    }

    fn best(&self, context: usize, threshold: u8) -> Option<usize> {
        let enabled = &self.contexts[context].enabled;
        let mut best = None;
        let mut floor = threshold;
        for (word, (pending, enabled)) in self.pending.iter().zip(enabled).enumerate() {
            let mut candidates = pending & enabled;
            while candidates != 0 {
                let source = word * 32 + candidates.trailing_zeros() as usize;
                candidates &= candidates - 1;
                if self.priority[source] > floor {
                    floor = self.priority[source];
                    best = Some(source);
                }
            }
        }
        best
    }

    /// Priorities hold three bits (section 4); source 0 has none.
    pub(super) fn set_priority(&mut self, source: usize, value: u32) {
        if source != 0 {
            self.priority[source] = value as u8 & MAX_PRIORITY;
        }
    }

    pub(super) fn set_enabled(&mut self, context: usize, word: usize, value: u32) {
        // Source 0 does not exist: its bit is hardwired to zero (section 6).
        let exists = if word == 0 { !1 } else { !0 };
        self.contexts[context].enabled[word] = value & exists;
    }

    pub(super) fn set_threshold(&mut self, context: usize, value: u32) {
        self.contexts[context].threshold = value as u8 & MAX_PRIORITY;
    }
}
