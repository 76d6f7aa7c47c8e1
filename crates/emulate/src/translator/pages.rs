//! Which guest code was translated, to what, and whether it still is what memory holds.
//!
//! Pages are known by host (= physical) address: address spaces and harts share their code. Memory
//! may change under a translation; a hart must not notice before its own `fence.i`, and must from
//! then on. So every `fence.i` makes its hart forget where code is, and whatever the hart then
//! enters is compared with memory first, unless that was done since by anybody.

use std::arch::x86_64::{_mm256_setzero_si256, _mm256_testz_si256};
use std::borrow::Cow;
use std::cmp::Reverse;

use clade_engine::PAGE_SIZE;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::assembler::CodeOffset;
use super::persisted::{Persisted, Record, Records};
use super::unit::{LINE, Offsets};
use crate::memory::{HostAddress, Scalar};

const PAGE: usize = PAGE_SIZE as usize;

/// A part of a page.
pub(super) type Line = [u64; LINE];

/// A place in a page where others may enter its code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Entry {
    /// Of the instruction in its page.
    pub(super) offset: u32,
    pub(super) code: CodeOffset,
}

/// Where the code of a unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub(super) struct Span {
    pub(super) start: CodeOffset,
    pub(super) bytes: u32,
}

/// Jumps out of inherited code that a page may have of a kind that could be linked, were the code one's
/// own, before it is translated anew.
const MAX_DETOURS: u8 = 16;

/// A page with translated code.
pub(super) struct Page {
    /// The lines of the page that have something that was translated, in order: many pages have little.
    source: Cow<'static, [Line]>,
    /// What was translated.
    covered: Cow<'static, Offsets>,
    /// Code by the offset of its first instruction, ordered.
    entries: Cow<'static, [Entry]>,
    /// Where all its code is.
    spans: Cow<'static, [Span]>,
    /// The fence after which `source` was last seen to equal memory; `None` before it ever was.
    verified: Option<u64>,
    /// The segments of the code memory that hold its code, as bits.
    segments: u32,
    detours: u8,
}

impl Page {
    fn new(fence: u64) -> Self {
        Self {
            source: Cow::default(),
            covered: Cow::Owned(Offsets::new()),
            entries: Cow::default(),
            spans: Cow::default(),
            verified: Some(fence),
            segments: 0,
            detours: 0,
        }
    }

    /// What is inherited, which was not compared with memory yet.
    fn inherit(record: Record<'static>) -> Self {
        Self {
            source: Cow::Borrowed(record.source),
            covered: Cow::Borrowed(record.covered),
            entries: Cow::Borrowed(record.entries),
            spans: Cow::Borrowed(record.spans),
            verified: None,
            ..Self::new(0)
        }
    }

    fn record(&self) -> Record<'_> {
        Record {
            covered: &self.covered,
            source: &self.source,
            entries: &self.entries,
            spans: &self.spans,
        }
    }

    pub(super) fn find(&self, offset: u16) -> Option<CodeOffset> {
        let index = self.position(offset).ok()?;
        Some(self.entries[index].code)
    }

    fn position(&self, offset: u16) -> Result<usize, usize> {
        let offset = u32::from(offset);
        self.entries
            .binary_search_by_key(&offset, |entry| entry.offset)
    }

    /// Adds the code of a unit in `segment`, made from the parcels in `covered` of `source`, for which
    /// the page was claimed.
    pub(super) fn add(
        &mut self,
        source: &[u64; PAGE / 8],
        entries: &[(u16, CodeOffset)],
        covered: impl Iterator<Item = u16>,
        (segment, span): (u32, Span),
    ) {
        self.segments |= 1 << segment;
        let offsets = self.covered.to_mut();
        for offset in covered {
            offsets.insert(offset);
        }
        let lines = self.covered.lines().map(|line| line_of(source, line));
        let mut kept = Vec::with_capacity(self.covered.lines().count());
        kept.extend(lines);
        self.source = Cow::Owned(kept);
        for &(offset, code) in entries {
            let entry = Entry {
                offset: offset.into(),
                code,
            };
            let position = self.position(offset);
            let entries = self.entries.to_mut();
            match position {
                Ok(index) => entries[index] = entry,
                Err(index) => entries.insert(index, entry),
            }
        }
        self.spans.to_mut().push(span);
    }

    /// Whether the guest's page that `at` is in has exactly these lines. Harts look at every page that
    /// they run code of after each `fence.i`: this is worth being quick about.
    #[target_feature(enable = "avx")]
    fn equals_memory(&self, at: HostAddress) -> bool {
        let start = at.0 & !(PAGE - 1);
        let mut differences = _mm256_setzero_si256();
        for (line, kept) in self.covered.lines().zip(self.source.iter()) {
            // SAFETY: reads one line of a page of live RAM, as `read_page`, and `kept`. Other harts
            // may write to the page meanwhile: that is no data race in the sense of the language, as
            // the reads are not its own.
            unsafe {
                std::arch::asm!(
                    "vmovups {a}, [{memory}]",
                    "vmovups {b}, [{memory} + 32]",
                    "vmovups {c}, [{memory} + 64]",
                    "vmovups {d}, [{memory} + 96]",
                    "vxorps {a}, {a}, [{kept}]",
                    "vxorps {b}, {b}, [{kept} + 32]",
                    "vxorps {c}, {c}, [{kept} + 64]",
                    "vxorps {d}, {d}, [{kept} + 96]",
                    "vorps {a}, {a}, {b}",
                    "vorps {c}, {c}, {d}",
                    "vorps {sum}, {sum}, {a}",
                    "vorps {sum}, {sum}, {c}",
                    memory = in(reg) start + size_of::<Line>() * line,
                    kept = in(reg) kept.as_ptr(),
                    sum = inout(ymm_reg) differences,
                    a = out(ymm_reg) _,
                    b = out(ymm_reg) _,
                    c = out(ymm_reg) _,
                    d = out(ymm_reg) _,
                    options(readonly, nostack, preserves_flags),
                );
            }
        }
        _mm256_testz_si256(differences, differences) != 0
    }

    /// Whether what was translated is what `now` holds. The rest is brought up to date.
    fn agrees(&mut self, now: &[u64; PAGE / 8]) -> bool {
        for (index, line) in self.covered.lines().enumerate() {
            let old = &self.source[index];
            let new = line_of(now, line);
            let differs = (0..LINE).any(|quad| {
                let difference = old[quad] ^ new[quad];
                let covered = self.covered.of_quad(line, quad);
                (0..4).any(|parcel| {
                    covered >> parcel & 1 != 0 && difference >> (16 * parcel) & 0xffff != 0
                })
            });
            if differs {
                return false;
            }
            if *old != new {
                self.source.to_mut()[index] = new;
            }
        }
        true
    }
}

/// All pages with translated code, by their numbers.
pub(super) struct Pages {
    /// Which of `pages` a page of the guest's is, plus [`FIRST`]; or one of the values below it.
    slots: Vec<u32>,
    /// Boxed, as most of a guest's code is inherited, and comes one page at a time.
    pages: Vec<Option<Box<Page>>>,
    free: Vec<u32>,
    inherited: Option<&'static Persisted>,
    /// How many pages were taken over from what is inherited.
    taken_over: u64,
    /// How many pages were dropped because memory held something else.
    changed: u64,
}

/// Nothing is known but what may be inherited.
const UNKNOWN: u32 = 0;
/// Nothing was translated, and there is nothing to inherit.
const NOTHING: u32 = 1;
const FIRST: u32 = 2;

/// Whether there is code for an address.
pub(super) enum Known<'a> {
    /// There is a page, and it is as memory has it.
    Page(&'a mut Page),
    /// Nothing was translated, or it has changed since.
    No,
}

impl Pages {
    /// For a guest of so many pages.
    pub(super) fn new(pages: usize, inherited: Option<&'static Persisted>) -> Self {
        Self {
            slots: vec![UNKNOWN; pages],
            pages: Vec::new(),
            free: Vec::new(),
            inherited,
            taken_over: 0,
            changed: 0,
        }
    }

    pub(super) fn changed(&self) -> u64 {
        self.changed
    }

    pub(super) fn taken_over(&self) -> u64 {
        self.taken_over
    }

    /// Which of `pages` the page `number` is.
    fn index(&self, number: u32) -> Option<usize> {
        let slot = self.slots.get(number as usize)?;
        slot.checked_sub(FIRST).map(|index| index as usize)
    }

    /// The page `number`, which `at` is in, for a hart that executed `fence` last; `now` is the count of
    /// all fences.
    pub(super) fn get(
        &mut self,
        (number, at): (u32, HostAddress),
        fence: u64,
        now: u64,
    ) -> Known<'_> {
        if self.slots.get(number as usize) == Some(&UNKNOWN) {
            self.inherit(number);
        }
        let Some(index) = self.index(number) else {
            return Known::No;
        };
        let stale = self.pages[index]
            .as_ref()
            .is_none_or(|page| page.verified < Some(fence));
        if stale {
            let agrees = self.pages[index].as_mut().is_some_and(|page| {
                // SAFETY: the translator is not made without AVX.
                let equal = unsafe { page.equals_memory(at) };
                equal || page.agrees(&read_page(at))
            });
            if !agrees {
                self.drop_changed(number);
                return Known::No;
            }
        }
        match &mut self.pages[index] {
            Some(page) => {
                if stale {
                    page.verified = Some(now);
                }
                Known::Page(page)
            }
            None => Known::No,
        }
    }

    /// The page `number` to add code to, which `source` is to be the origin of. What was translated
    /// from something else is forgotten.
    pub(super) fn claim(
        &mut self,
        number: u32,
        source: &[u64; PAGE / 8],
        now: u64,
    ) -> Option<&mut Page> {
        let agrees =
            |page: &mut Option<Box<Page>>| page.as_mut().is_some_and(|page| page.agrees(source));
        let index = match self.index(number) {
            Some(index) if agrees(&mut self.pages[index]) => index,
            _ => {
                self.drop_changed(number);
                self.insert(number, Page::new(now))?
            }
        };
        self.pages[index].as_deref_mut()
    }

    /// Takes over what is inherited of a page, if anything is. Whether memory has it is still to be seen.
    fn inherit(&mut self, number: u32) {
        let record = self.inherited.and_then(|inherited| inherited.page(number));
        self.taken_over += u64::from(record.is_some());
        match record {
            Some(record) => {
                self.insert(number, Page::inherit(record));
            }
            None => {
                self.remove(number, NOTHING);
            }
        }
    }

    fn insert(&mut self, number: u32, page: Page) -> Option<usize> {
        let slot = self.slots.get_mut(number as usize)?;
        let page = Box::new(page);
        let index = match self.free.pop() {
            Some(index) => {
                self.pages[index as usize] = Some(page);
                index
            }
            None => {
                self.pages.push(Some(page));
                self.pages.len() as u32 - 1
            }
        };
        *slot = index + FIRST;
        Some(index as usize)
    }

    /// Forgets the page `number`, if there is one, for `slot`.
    fn remove(&mut self, number: u32, slot: u32) -> bool {
        let index = self.index(number);
        if let Some(slot_of) = self.slots.get_mut(number as usize) {
            *slot_of = slot;
        }
        if let Some(index) = index {
            self.pages[index] = None;
            self.free.push(index as u32);
        }
        index.is_some()
    }

    /// Forgets the page `number`, if there is one: memory holds something else.
    fn drop_changed(&mut self, number: u32) {
        self.changed += u64::from(self.remove(number, NOTHING));
    }

    /// Counts a jump out of inherited code of the page `number` to code that was translated since.
    /// Returns whether there were so many that the page's code was given up, to be made anew.
    pub(super) fn count_detour(&mut self, number: u32) -> bool {
        let page = self
            .index(number)
            .and_then(|index| self.pages[index].as_mut());
        let Some(page) = page else {
            return false;
        };
        page.detours += 1;
        page.detours >= MAX_DETOURS && self.remove(number, NOTHING)
    }

    /// Forgets every page that has code in `segment`.
    pub(super) fn forget_segment(&mut self, segment: u32) {
        for number in 0..self.slots.len() as u32 {
            let has_code = |index: usize| {
                let page = self.pages[index].as_ref();
                page.is_some_and(|page| page.segments >> segment & 1 != 0)
            };
            if self.index(number).is_some_and(has_code) {
                self.remove(number, UNKNOWN);
            }
        }
    }

    /// What is known for another process: of the pages that were entered last, as many as have so many
    /// bytes of code together.
    pub(super) fn records(&self, code_bytes: usize) -> Records {
        let mut all: Vec<_> = (0..self.slots.len() as u32)
            .filter_map(|number| self.record(number))
            .collect();
        all.sort_by_key(|&(_, entered, _)| Reverse(entered));
        let mut room = code_bytes;
        let mut chosen: Vec<_> = all
            .into_iter()
            .map_while(|(number, _, record)| {
                let bytes: u32 = record.spans.iter().map(|span| span.bytes).sum();
                room = room.checked_sub(bytes as usize)?;
                Some((number, record))
            })
            .collect();
        chosen.sort_by_key(|&(number, _)| number);
        let mut records = Records::default();
        for (number, record) in chosen {
            records.add(number, &record);
        }
        records
    }

    /// What is known of the page `number`, and when it was last entered: which fence was the latest then.
    fn record(&self, number: u32) -> Option<(u32, Option<u64>, Record<'_>)> {
        if self.slots[number as usize] == UNKNOWN {
            let record = self.inherited?.page(number)?;
            return Some((number, None, record));
        }
        let page = self.pages[self.index(number)?].as_ref()?;
        Some((number, page.verified, page.record()))
    }
}

fn line_of(page: &[u64; PAGE / 8], line: usize) -> Line {
    std::array::from_fn(|quad| page[LINE * line + quad])
}

/// A copy of the guest's page that `at` is in.
pub(super) fn read_page(at: HostAddress) -> [u64; PAGE / 8] {
    let start = at.0 & !(PAGE - 1);
    std::array::from_fn(|index| {
        // SAFETY: whoever has a `HostAddress` of code found its whole page to be RAM; pages of
        // host and guest coincide.
        unsafe { u64::load(HostAddress(start + 8 * index)) }
    })
}
