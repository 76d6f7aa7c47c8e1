//! Which guest code was translated, to what, and whether it still is what memory holds.
//!
//! Pages are known by host (= physical) address: address spaces and harts share their code. Memory
//! may change under a translation; a hart must not notice before its own `fence.i`, and must from
//! then on. So every `fence.i` makes its hart forget where code is, and whatever the hart then
//! enters is compared with memory first, unless that was done since by anybody.

use std::arch::x86_64::{_mm256_setzero_si256, _mm256_testz_si256};

use clade_engine::PAGE_SIZE;

use super::assembler::CodeOffset;
use super::unit::{LINE, Offsets};
use crate::memory::{GuestMemory, HostAddress, Scalar};

const PAGE: usize = PAGE_SIZE as usize;

/// A part of a page.
type Line = [u64; LINE];

/// A page with translated code.
pub(super) struct Page {
    /// The lines of the page that have something that was translated, in order: many pages have little.
    source: Box<[Line]>,
    /// What was translated.
    covered: Offsets,
    /// Code by the offset of its first instruction, ordered.
    entries: Vec<(u16, CodeOffset)>,
    /// The fence after which `source` was last seen to equal memory.
    verified: u64,
    /// The segments of the code memory that hold its code, as bits.
    segments: u32,
}

impl Page {
    fn new(fence: u64) -> Self {
        Self {
            source: Box::default(),
            covered: Offsets::new(),
            entries: Vec::new(),
            verified: fence,
            segments: 0,
        }
    }

    pub(super) fn find(&self, offset: u16) -> Option<CodeOffset> {
        let index = self
            .entries
            .binary_search_by_key(&offset, |entry| entry.0)
            .ok()?;
        Some(self.entries[index].1)
    }

    /// Adds the code of a unit in `segment`, made from the parcels in `covered` of `source`, for which
    /// the page was claimed.
    pub(super) fn add(
        &mut self,
        source: &[u64; PAGE / 8],
        entries: &[(u16, CodeOffset)],
        covered: impl Iterator<Item = u16>,
        segment: u32,
    ) {
        self.segments |= 1 << segment;
        for offset in covered {
            self.covered.insert(offset);
        }
        let lines = self.covered.lines().map(|line| line_of(source, line));
        let mut kept = Vec::with_capacity(self.covered.lines().count());
        kept.extend(lines);
        self.source = kept.into_boxed_slice();
        for &(offset, code) in entries {
            match self.entries.binary_search_by_key(&offset, |entry| entry.0) {
                Ok(index) => self.entries[index].1 = code,
                Err(index) => self.entries.insert(index, (offset, code)),
            }
        }
    }

    /// Whether the guest's page that `at` is in has exactly these lines. Harts look at every page that
    /// they run code of after each `fence.i`: this is worth being quick about.
    #[target_feature(enable = "avx")]
    fn equals_memory(&self, at: HostAddress) -> bool {
        let start = at.0 & !(PAGE - 1);
        let mut differences = _mm256_setzero_si256();
        for (line, kept) in self.covered.lines().zip(&self.source) {
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
        for (line, old) in self.covered.lines().zip(&mut self.source) {
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
            *old = new;
        }
        true
    }
}

/// All pages with translated code.
pub(super) struct Pages {
    /// For each region of guest memory, where it is and which of `pages` its pages are: 0 for
    /// none, else one more than the index.
    regions: Vec<(HostAddress, Vec<u32>)>,
    pages: Vec<Option<Page>>,
    free: Vec<u32>,
    /// How many pages were dropped because memory held something else.
    changed: u64,
}

/// Whether there is code for an address.
pub(super) enum Known<'a> {
    /// There is a page, and it is as memory has it.
    Page(&'a mut Page),
    /// Nothing was translated, or it has changed since.
    No,
}

impl Pages {
    pub(super) fn new(memory: &GuestMemory) -> Self {
        let regions = memory
            .regions()
            .map(|(start, length)| (start, vec![0; length.div_ceil(PAGE)]))
            .collect();
        Self {
            regions,
            pages: Vec::new(),
            free: Vec::new(),
            changed: 0,
        }
    }

    pub(super) fn changed(&self) -> u64 {
        self.changed
    }

    fn slot(&mut self, at: HostAddress) -> Option<&mut u32> {
        self.regions.iter_mut().find_map(|(start, slots)| {
            let offset = at.0.checked_sub(start.0)?;
            slots.get_mut(offset / PAGE)
        })
    }

    /// The page of `at` for a hart that executed `fence` last; `now` is the count of all fences.
    pub(super) fn get(&mut self, at: HostAddress, fence: u64, now: u64) -> Known<'_> {
        let Some(&mut slot @ 1..) = self.slot(at) else {
            return Known::No;
        };
        let index = slot as usize - 1;
        let stale = self.pages[index]
            .as_ref()
            .is_none_or(|page| page.verified < fence);
        if stale {
            let agrees = self.pages[index].as_mut().is_some_and(|page| {
                // SAFETY: the translator is not made without AVX.
                let equal = unsafe { page.equals_memory(at) };
                equal || page.agrees(&read_page(at))
            });
            if !agrees {
                self.drop_changed(at);
                return Known::No;
            }
        }
        match &mut self.pages[index] {
            Some(page) => {
                if stale {
                    page.verified = now;
                }
                Known::Page(page)
            }
            None => Known::No,
        }
    }

    /// The page of `at` to add code to, which `source` is to be the origin of. What was translated
    /// from something else is forgotten.
    pub(super) fn claim(
        &mut self,
        at: HostAddress,
        source: &[u64; PAGE / 8],
        now: u64,
    ) -> Option<&mut Page> {
        let slot = *self.slot(at)?;
        let agrees = slot != 0
            && self.pages[slot as usize - 1]
                .as_mut()
                .is_some_and(|page| page.agrees(source));
        if !agrees {
            self.drop_changed(at);
            let page = Some(Page::new(now));
            let index = match self.free.pop() {
                Some(index) => {
                    self.pages[index as usize] = page;
                    index
                }
                None => {
                    self.pages.push(page);
                    self.pages.len() as u32 - 1
                }
            };
            *self.slot(at)? = index + 1;
        }
        let index = *self.slot(at)? as usize - 1;
        self.pages[index].as_mut()
    }

    /// Forgets the page of `at`, if there is one: memory holds something else.
    fn drop_changed(&mut self, at: HostAddress) {
        if let Some(slot) = self.slot(at)
            && *slot != 0
        {
            let index = std::mem::take(slot) - 1;
            self.pages[index as usize] = None;
            self.free.push(index);
            self.changed += 1;
        }
    }

    /// Forgets every page that has code in `segment`.
    pub(super) fn forget_segment(&mut self, segment: u32) {
        let pages = &mut self.pages;
        let free = &mut self.free;
        for slot in self.regions.iter_mut().flat_map(|(_, slots)| slots) {
            let Some(index) = slot.checked_sub(1) else {
                continue;
            };
            let page = &mut pages[index as usize];
            if page
                .as_ref()
                .is_some_and(|page| page.segments >> segment & 1 != 0)
            {
                *page = None;
                free.push(index);
                *slot = 0;
            }
        }
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
