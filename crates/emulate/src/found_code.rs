//! What a hart has found of translated code lately, whatever virtual address it was at: the second
//! place to look, when the cache of jumps does not know an address, and before the translator's lock.

use zerocopy::FromZeros;

use crate::memory::HostAddress;
use crate::table::Table;

/// Entries: a hart that boots a distribution runs code of some tens of thousands of addresses.
const ENTRIES: usize = 1 << 14;

/// Where the code for one instruction of guest memory is, as of one generation.
#[derive(Clone, Copy, FromZeros)]
struct Entry {
    at: usize,
    /// Address of the translated code.
    code: usize,
    generation: u64,
}

/// The cache of one hart.
pub(crate) struct FoundCode {
    /// Empty until something is found, for harts that translate nothing.
    entries: Table<Entry>,
    /// Entries of other generations are void.
    generation: u64,
}

impl Default for FoundCode {
    fn default() -> Self {
        Self {
            entries: Table::new(0),
            generation: 1,
        }
    }
}

impl FoundCode {
    /// The address of the code for the instruction at `at`.
    pub(crate) fn get(&self, at: HostAddress) -> Option<usize> {
        let entry = self.entries.get(slot(at))?;
        (entry.at == at.0 && entry.generation == self.generation).then_some(entry.code)
    }

    /// Remembers that the code for the instruction at `at` is at `code`.
    pub(crate) fn insert(&mut self, at: HostAddress, code: usize) {
        if self.entries.is_empty() {
            self.entries = Table::new(ENTRIES);
        }
        self.entries[slot(at)] = Entry {
            at: at.0,
            code,
            generation: self.generation,
        };
    }

    /// Forgets everything.
    pub(crate) fn forget(&mut self) {
        self.generation += 1;
    }
}

/// Pages that are next to each other in memory share no slots, nor do the addresses in one.
fn slot(at: HostAddress) -> usize {
    (at.0 >> 1) % ENTRIES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_inserted_until_it_is_to_forget() {
        let mut found = FoundCode::default();
        let at = HostAddress(0x7000_1002);
        assert_eq!(found.get(at), None);
        found.insert(at, 5);
        assert_eq!(found.get(at), Some(5));
        assert_eq!(found.get(HostAddress(at.0 + 2 * ENTRIES)), None);
        found.insert(HostAddress(at.0 + 2 * ENTRIES), 6);
        assert_eq!(found.get(at), None);
        found.forget();
        assert_eq!(found.get(HostAddress(at.0 + 2 * ENTRIES)), None);
        found.insert(at, 7);
        assert_eq!(found.get(at), Some(7));
        assert_eq!(found.get(HostAddress(0)), None);
    }
}
