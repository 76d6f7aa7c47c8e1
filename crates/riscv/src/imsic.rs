//! An interrupt file: what a hart's incoming MSI controller (IMSIC) keeps for one privilege level.
//!
//! Section numbers are those of *The RISC-V Advanced Interrupt Architecture*, version 1.0.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};

use serde::{Deserialize, Serialize};

/// The highest interrupt identity; the lowest is 1.
pub const IDENTITIES: u32 = 255;

const WORDS: usize = (IDENTITIES as usize + 1) / 64;

/// Registers by what is selected in `siselect` or `miselect` (section 3.8).
mod select {
    pub(super) const FIRST: u16 = 0x70;
    pub(super) const DELIVERY: u16 = 0x70;
    pub(super) const THRESHOLD: u16 = 0x72;
    pub(super) const PENDING: u16 = 0x80;
    pub(super) const ENABLED: u16 = 0xc0;
    pub(super) const LAST: u16 = 0xff;
}

/// A change of some bits: first those of `clear` become 0, then those of `set` 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Bits to clear.
    pub clear: u64,
    /// Bits to set.
    pub set: u64,
}

/// Pending and enabled interrupts of one hart at one privilege level.
///
/// Any thread may make an interrupt pending, without a lock; everything else is for the hart.
#[derive(Debug, Default)]
pub struct InterruptFile {
    delivery: AtomicBool,
    threshold: AtomicU32,
    pending: [AtomicU64; WORDS],
    enabled: [AtomicU64; WORDS],
}

/// Everything about an interrupt file that a guest can observe. Bit `n % 64` of word `n / 64` is
/// for identity `n`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterruptFileState {
    /// `eidelivery`: whether the hart is interrupted at all.
    pub delivery: bool,
    /// `eithreshold`: only lower identities interrupt; 0 for all.
    pub threshold: u32,
    /// The array `eip`.
    pub pending: [u64; WORDS],
    /// The array `eie`.
    pub enabled: [u64; WORDS],
}

impl InterruptFile {
    /// Makes interrupt `identity` pending, as a write of it to `seteipnum_le` does: one that does
    /// not exist is ignored (section 3.5). Returns whether the hart has something new to look at.
    pub fn set_pending(&self, identity: u32) -> bool {
        if !(1..=IDENTITIES).contains(&identity) {
            return false;
        }
        let (word, bit) = place(identity);
        let before = self.pending[word].fetch_or(bit, SeqCst);
        // A hart that enables it now looks for itself, after it has.
        before & bit == 0
            && self.enabled[word].load(SeqCst) & bit != 0
            && self.delivery.load(SeqCst)
    }

    /// The identity of the interrupt that `stopei` or `mtopei` reports, or 0 (section 3.10).
    pub fn top(&self) -> u32 {
        let identity = (0..)
            .zip(self.pending.iter().zip(&self.enabled))
            .find_map(|(word, (pending, enabled))| {
                // Most of the time nothing is pending.
                let pending = pending.load(SeqCst);
                let ready = if pending == 0 {
                    0
                } else {
                    pending & enabled.load(SeqCst)
                };
                (ready != 0).then(|| word * 64 + ready.trailing_zeros())
            })
            .unwrap_or(0);
        match self.threshold.load(SeqCst) {
            0 => identity,
            threshold if identity < threshold => identity,
            _ => 0,
        }
    }

    /// Whether the file signals an external interrupt to its hart (section 3.11).
    pub fn signals(&self) -> bool {
        self.delivery.load(SeqCst) && self.top() != 0
    }

    /// Takes back that `identity` is pending: the hart has claimed it.
    pub fn claim(&self, identity: u32) {
        if (1..=IDENTITIES).contains(&identity) {
            let (word, bit) = place(identity);
            self.pending[word].fetch_and(!bit, SeqCst);
        }
    }

    /// Whether something can be selected in the interrupt file at all, and is not an illegal
    /// instruction on a hart of 64 bits: of each array, the odd registers do not exist (section 3.9.3).
    pub fn has(selected: u16) -> bool {
        match selected {
            select::PENDING..=select::LAST => selected.is_multiple_of(2),
            _ => (select::FIRST..select::PENDING).contains(&selected),
        }
    }

    /// Reads the selected register; those that are reserved read as 0.
    pub fn read(&self, selected: u16) -> u64 {
        match selected {
            select::DELIVERY => self.delivery.load(SeqCst).into(),
            select::THRESHOLD => self.threshold.load(SeqCst).into(),
            _ => self.word(selected).map_or(0, |(word, _)| word.load(SeqCst)),
        }
    }

    /// Changes the selected register at once: no interrupt that becomes pending meanwhile is lost.
    /// Returns what it was before.
    pub fn change(&self, selected: u16, change: Change) -> u64 {
        let apply = |old: u64| old & !change.clear | change.set;
        match selected {
            // WARL: 0 and 1 are legal, for there is no other interrupt controller behind this one.
            select::DELIVERY => {
                let old = self.delivery.load(SeqCst).into();
                self.delivery.store(apply(old) & 1 != 0, SeqCst);
                old
            }
            select::THRESHOLD => {
                let old = self.threshold.load(SeqCst).into();
                let new = apply(old) as u32 & IDENTITIES;
                self.threshold.store(new, SeqCst);
                old
            }
            _ => self.word(selected).map_or(0, |(word, exists)| {
                let update = word.fetch_update(SeqCst, SeqCst, |old| Some(apply(old) & exists));
                let (Ok(old) | Err(old)) = update;
                old
            }),
        }
    }

    /// The part of an array that is selected, with the bits that exist in it.
    fn word(&self, selected: u16) -> Option<(&AtomicU64, u64)> {
        let (array, first) = match selected {
            select::PENDING..select::ENABLED => (&self.pending, select::PENDING),
            select::ENABLED..=select::LAST => (&self.enabled, select::ENABLED),
            _ => return None,
        };
        // Registers are numbered by 32 bits.
        let index = usize::from(selected - first) / 2;
        let exists = if index == 0 { !1 } else { !0 };
        Some((array.get(index)?, exists))
    }

    /// Everything that a guest can observe.
    pub fn save(&self) -> InterruptFileState {
        InterruptFileState {
            delivery: self.delivery.load(SeqCst),
            threshold: self.threshold.load(SeqCst),
            pending: self.pending.each_ref().map(|word| word.load(SeqCst)),
            enabled: self.enabled.each_ref().map(|word| word.load(SeqCst)),
        }
    }

    /// Continues from a saved state, which was checked to be one that a guest can make.
    pub fn restore(&self, saved: &InterruptFileState) {
        self.delivery.store(saved.delivery, SeqCst);
        self.threshold.store(saved.threshold, SeqCst);
        for (word, &saved) in self.pending.iter().zip(&saved.pending) {
            word.store(saved, SeqCst);
        }
        for (word, &saved) in self.enabled.iter().zip(&saved.enabled) {
            word.store(saved, SeqCst);
        }
    }
}

impl InterruptFileState {
    /// Whether an interrupt file can be in this state.
    pub fn is_legal(&self) -> bool {
        self.threshold <= IDENTITIES && (self.pending[0] | self.enabled[0]) & 1 == 0
    }
}

/// The word of an array, and the bit in it.
fn place(identity: u32) -> (usize, u64) {
    ((identity / 64) as usize, 1 << (identity % 64))
}
