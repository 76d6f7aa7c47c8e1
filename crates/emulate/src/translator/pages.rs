//! Which guest code was translated, to what, and whether it still is what memory holds.
//!
//! Pages are known by host (= physical) address: address spaces and harts share their code. Memory
//! may change under a translation; a hart must not notice before its own `fence.i`, and must from
//! then on. So every `fence.i` makes its hart forget where code is, and whatever the hart then
//! enters is compared with memory first, unless that was done since by anybody.

use std::arch::x86_64::{_mm256_setzero_si256, _mm256_testz_si256};
use std::cmp::Reverse;

use clade_engine::PAGE_SIZE;
use rustc_hash::FxHashMap;
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
    /// What is known of it, unless there is something of this process's own.
    inherited: Record<'static>,
    /// Most pages of a clone are as they were inherited, and take next to no memory.
    own: Option<Box<OwnRecord>>,
    /// The fence after which what was translated was last seen to equal memory; `None` before it ever was.
    verified: Option<u64>,
    /// The segments of the code memory that hold its code, as bits.
    segments: u32,
    detours: u8,
}

/// As [`Record`].
struct OwnRecord {
    covered: Offsets,
    source: Vec<Line>,
    entries: Vec<Entry>,
    spans: Vec<Span>,
}

impl From<Record<'_>> for OwnRecord {
    fn from(record: Record<'_>) -> Self {
        Self {
            covered: record.covered.clone(),
            source: record.source.to_vec(),
            entries: record.entries.to_vec(),
            spans: record.spans.to_vec(),
        }
    }
}

impl Page {
    fn new(fence: u64) -> Self {
        static NOTHING: Offsets = Offsets::new();
        let nothing = Record {
            covered: &NOTHING,
            source: &[],
            entries: &[],
            spans: &[],
        };
        Self {
            verified: Some(fence),
            ..Self::inherit(nothing)
        }
    }

    /// What is inherited, which was not compared with memory yet.
    fn inherit(inherited: Record<'static>) -> Self {
        Self {
            inherited,
            own: None,
            verified: None,
            segments: 0,
            detours: 0,
        }
    }

    fn record(&self) -> Record<'_> {
        match &self.own {
            Some(own) => Record {
                covered: &own.covered,
                source: &own.source,
                entries: &own.entries,
                spans: &own.spans,
            },
            None => self.inherited,
        }
    }

    /// What is known, to be changed.
    fn own(&mut self) -> &mut OwnRecord {
        self.own
            .get_or_insert_with(|| Box::new(self.inherited.into()))
    }

    pub(super) fn find(&self, offset: u16) -> Option<CodeOffset> {
        let entries = self.record().entries;
        let index = position(entries, offset).ok()?;
        Some(entries[index].code)
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
        let own = self.own();
        for offset in covered {
            own.covered.insert(offset);
        }
        let lines = own.covered.lines().map(|line| line_of(source, line));
        let mut kept = Vec::with_capacity(own.covered.lines().count());
        kept.extend(lines);
        own.source = kept;
        for &(offset, code) in entries {
            let entry = Entry {
                offset: offset.into(),
                code,
            };
            match position(&own.entries, offset) {
                Ok(index) => own.entries[index] = entry,
                Err(index) => own.entries.insert(index, entry),
            }
        }
        own.spans.push(span);
    }

    /// Whether the guest's page that `at` is in has exactly these lines. Harts look at every page that
    /// they run code of after each `fence.i`: this is worth being quick about.
    #[target_feature(enable = "avx")]
    fn equals_memory(&self, at: HostAddress) -> bool {
        let start = at.0 & !(PAGE - 1);
        let known = self.record();
        let mut differences = _mm256_setzero_si256();
        for (line, kept) in known.covered.lines().zip(known.source) {
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
        let Record {
            covered, source, ..
        } = self.record();
        let mut is_current = true;
        for (old, line) in source.iter().zip(covered.lines()) {
            let new = line_of(now, line);
            let differs = (0..LINE).any(|quad| {
                let difference = old[quad] ^ new[quad];
                let covered = covered.of_quad(line, quad);
                (0..4).any(|parcel| {
                    covered >> parcel & 1 != 0 && difference >> (16 * parcel) & 0xffff != 0
                })
            });
            if differs {
                return false;
            }
            is_current &= *old == new;
        }
        if !is_current {
            let own = self.own();
            let lines = own.covered.lines().map(|line| line_of(now, line));
            own.source = lines.collect();
        }
        true
    }
}

/// Where the entry for this offset is, or would be.
fn position(entries: &[Entry], offset: u16) -> Result<usize, usize> {
    entries.binary_search_by_key(&u32::from(offset), |entry| entry.offset)
}

/// All pages with translated code.
pub(super) struct Pages {
    /// By their numbers, as far as they were looked for; `None` where nothing is known of one. Boxed, as most are
    /// inherited and come one at a time.
    pages: FxHashMap<u32, Option<Box<Page>>>,
    inherited: Option<&'static Persisted>,
    /// How many pages were taken over from what is inherited.
    taken_over: u64,
    /// How many pages were dropped because memory held something else.
    changed: u64,
}

impl Pages {
    pub(super) fn new(inherited: Option<&'static Persisted>) -> Self {
        Self {
            pages: FxHashMap::default(),
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

    /// The page `number`, which `at` is in, if there is code of it and it is as memory has it, for a hart that
    /// executed `fence` last; `now` is the count of all fences.
    pub(super) fn get(
        &mut self,
        (number, at): (u32, HostAddress),
        fence: u64,
        now: u64,
    ) -> Option<&mut Page> {
        let known = self.pages.entry(number).or_insert_with(|| {
            let record = self.inherited?.page(number)?;
            self.taken_over += 1;
            Some(Box::new(Page::inherit(record)))
        });
        let page = known.as_mut()?;
        if page.verified < Some(fence) {
            // SAFETY: the translator is not made without AVX.
            let equal = unsafe { page.equals_memory(at) };
            if !equal && !page.agrees(&read_page(at)) {
                *known = None;
                self.changed += 1;
                return None;
            }
            page.verified = Some(now);
        }
        known.as_deref_mut()
    }

    /// The page `number` to add code to, which `source` is to be the origin of. What was translated
    /// from something else is forgotten.
    pub(super) fn claim(&mut self, number: u32, source: &[u64; PAGE / 8], now: u64) -> &mut Page {
        let known = self.pages.entry(number).or_default();
        if known.as_mut().is_some_and(|page| !page.agrees(source)) {
            *known = None;
            self.changed += 1;
        }
        known.get_or_insert_with(|| Box::new(Page::new(now)))
    }

    /// Counts a jump out of inherited code of the page `number` to code that was translated since.
    /// Returns whether there were so many that the page's code was given up, to be made anew.
    pub(super) fn count_detour(&mut self, number: u32) -> bool {
        let Some(known) = self.pages.get_mut(&number) else {
            return false;
        };
        let is_given_up = known.as_mut().is_some_and(|page| {
            page.detours += 1;
            page.detours >= MAX_DETOURS
        });
        if is_given_up {
            *known = None;
        }
        is_given_up
    }

    /// Forgets every page that has code in `segment`.
    pub(super) fn forget_segment(&mut self, segment: u32) {
        self.pages.retain(|_, known| {
            let page = known.as_deref();
            page.is_none_or(|page| page.segments >> segment & 1 == 0)
        });
    }

    /// What is known for another process: of the pages that were entered last, as many as have so many
    /// bytes of code together.
    pub(super) fn records(&self, code_bytes: usize) -> Records {
        let own = self.pages.iter().filter_map(|(&number, known)| {
            let page = known.as_ref()?;
            Some((number, page.verified, page.record()))
        });
        let inherited = self.inherited.iter().flat_map(|inherited| {
            let left = |number: &u32| !self.pages.contains_key(number);
            let numbers = inherited.numbers().filter(left);
            numbers.filter_map(|number| Some((number, None, inherited.page(number)?)))
        });
        let mut all: Vec<_> = own.chain(inherited).collect();
        // When it was last entered: which fence was the latest then.
        all.sort_by_key(|&(number, entered, _)| (Reverse(entered), number));
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
