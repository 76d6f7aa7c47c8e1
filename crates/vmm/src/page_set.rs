//! Sets of guest pages.

use std::ops::Range;

use clade_engine::{DirtyPages, PAGE_SIZE, PageRun};

/// Pages of guest memory, by physical address divided by the size of a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PageSet {
    /// A bit for each page from 0 on.
    words: Vec<u64>,
}

impl PageSet {
    pub(crate) fn insert(&mut self, pages: Range<u64>) {
        let words = pages.end.div_ceil(64) as usize;
        if self.words.len() < words {
            self.words.resize(words, 0);
        }
        for page in pages {
            self.words[(page / 64) as usize] |= 1 << (page % 64);
        }
    }

    pub(crate) fn insert_all(&mut self, pages: &DirtyPages) {
        for &PageRun { start, pages } in pages {
            let first = start / PAGE_SIZE;
            self.insert(first..first + pages);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.words.clear();
    }

    pub(crate) fn count(&self) -> u64 {
        self.words
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum()
    }

    /// The runs of consecutive pages, in order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            let first = self.next(at, true)?;
            let end = self
                .next(first, false)
                .unwrap_or(self.words.len() as u64 * 64);
            at = end;
            Some(first..end)
        })
    }

    /// The first page from `at` on that is in the set, or that is not.
    fn next(&self, at: u64, contained: bool) -> Option<u64> {
        let mut index = (at / 64) as usize;
        let mut mask = u64::MAX << (at % 64);
        while let Some(word) = self.words.get(index) {
            let wanted = if contained { *word } else { !*word } & mask;
            if wanted != 0 {
                return Some(index as u64 * 64 + u64::from(wanted.trailing_zeros()));
            }
            index += 1;
            mask = u64::MAX;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_a_set_that_knows_its_runs(ranges in prop::collection::vec((0u64..600, 0u64..80), 0..20)) {
            let mut set = PageSet::default();
            let mut model = BTreeSet::new();
            for (first, count) in ranges {
                set.insert(first..first + count);
                model.extend(first..first + count);
            }
            prop_assert_eq!(set.count(), model.len() as u64);
            let runs: Vec<_> = set.runs().collect();
            prop_assert!(runs.windows(2).all(|two| two[0].end < two[1].start));
            prop_assert!(runs.iter().flat_map(|run| run.clone()).eq(model));
        }
    }
}
