use std::collections::BTreeMap;
use std::ops::Range;

/// Pages of one chunk of the map: 2 MiB of a guest's memory.
const CHUNK: u64 = 512;

/// What a layer has of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nothing: the page is as it was before.
    Elsewhere,
    /// The page is zero, and has no slot.
    Zero,
    /// The page is in this slot.
    Data(u64),
    /// The page is zero, and this slot is a hole: it lies between others in one run.
    Hole(u64),
}

impl Place {
    /// Slots are below this.
    pub(super) const MAX_SLOTS: u64 = (1 << 31) - 1;

    pub(super) fn slot(self) -> Option<u64> {
        match self {
            Self::Data(slot) | Self::Hole(slot) => Some(slot),
            Self::Elsewhere | Self::Zero => None,
        }
    }

    /// In a word: the slot plus one, and a bit that says zero.
    fn to_word(self) -> u32 {
        let (slot, zero) = match self {
            Self::Elsewhere => (0, 0),
            Self::Zero => (0, 1),
            Self::Data(slot) => (slot as u32 + 1, 0),
            Self::Hole(slot) => (slot as u32 + 1, 1),
        };
        slot << 1 | zero
    }

    fn of_word(word: u32) -> Self {
        match (word >> 1, word & 1 != 0) {
            (0, false) => Self::Elsewhere,
            (0, true) => Self::Zero,
            (slot, false) => Self::Data(u64::from(slot) - 1),
            (slot, true) => Self::Hole(u64::from(slot) - 1),
        }
    }
}

/// Consecutive pages of which a layer knows: all zero, or in consecutive slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) page: u64,
    pub(super) pages: u64,
    /// The slot of the first page; `None` if all are zero and in no slot.
    pub(super) slot: Option<u64>,
}

impl Extent {
    pub(super) fn range(&self) -> Range<u64> {
        self.page..self.page + self.pages
    }
}

/// A [`Place`] for every page: four bytes for each, in chunks where there is anything.
#[derive(Debug, Default)]
pub(super) struct PageMap {
    chunks: BTreeMap<u64, Box<[u32; CHUNK as usize]>>,
}

impl PageMap {
    pub(super) fn get(&self, page: u64) -> Place {
        let chunk = self.chunks.get(&(page / CHUNK));
        chunk.map_or(Place::Elsewhere, |chunk| {
            Place::of_word(chunk[(page % CHUNK) as usize])
        })
    }

    pub(super) fn set(&mut self, page: u64, place: Place) {
        let chunk = self.chunks.entry(page / CHUNK);
        let chunk = chunk.or_insert_with(|| Box::new([0; CHUNK as usize]));
        chunk[(page % CHUNK) as usize] = place.to_word();
    }

    /// Pages that are not zero.
    pub(super) fn data_pages(&self) -> u64 {
        let words = self.chunks.values().flat_map(|chunk| chunk.iter());
        let data = |word: &&u32| matches!(Place::of_word(**word), Place::Data(_));
        words.filter(data).count() as u64
    }

    /// All that a layer knows of, by page.
    pub(super) fn extents(&self) -> Vec<Extent> {
        let mut extents: Vec<Extent> = Vec::new();
        for (chunk, words) in &self.chunks {
            for (page, word) in (chunk * CHUNK..).zip(words.iter()) {
                let place = Place::of_word(*word);
                if place == Place::Elsewhere {
                    continue;
                }
                let slot = place.slot();
                match extents.last_mut() {
                    Some(last)
                        if last.page + last.pages == page
                            && last.slot.map(|first| first + last.pages) == slot =>
                    {
                        last.pages += 1;
                    }
                    _ => extents.push(Extent {
                        page,
                        pages: 1,
                        slot,
                    }),
                }
            }
        }
        extents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_again_and_consecutive_ones_are_one_extent() {
        let mut map = PageMap::default();
        let last = Place::MAX_SLOTS - 1;
        let places = [
            (510, Place::Data(0)),
            (511, Place::Hole(1)),
            (512, Place::Data(2)),
            (513, Place::Data(9)),
            (514, Place::Zero),
            (515, Place::Zero),
            (1 << 51, Place::Data(last)),
            ((1 << 51) + 1, Place::Hole(last)),
        ];
        for (page, place) in places {
            map.set(page, place);
        }
        for (page, place) in places {
            assert_eq!(map.get(page), place);
        }
        assert_eq!(map.get(516), Place::Elsewhere);
        let extents = [
            (510, 3, Some(0)),
            (513, 1, Some(9)),
            (514, 2, None),
            (1 << 51, 1, Some(last)),
            ((1 << 51) + 1, 1, Some(last)),
        ];
        let extents = extents.map(|(page, pages, slot)| Extent { page, pages, slot });
        assert_eq!(map.extents(), extents);
    }
}
