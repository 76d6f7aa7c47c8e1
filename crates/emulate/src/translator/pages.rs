//! Which guest code was translated, to what, and whether it still is what memory holds.
//!
//! Pages are known by host (= physical) address: address spaces and harts share their code. Memory
//! may change under a translation; a hart must not notice before its own `fence.i`, and must from
//! then on. So every `fence.i` makes its hart forget where code is, and whatever the hart then
//! enters is compared with memory first, unless that was done since by anybody.

use clade_engine::PAGE_SIZE;

use super::assembler::CodeOffset;
use super::unit::Offsets;
use crate::memory::{GuestMemory, HostAddress, Scalar};

const PAGE: usize = PAGE_SIZE as usize;

/// A page with translated code.
pub(super) struct Page {
    /// What was translated.
    source: Box<[u64; PAGE / 8]>,
    /// The parts of `source` that were.
    covered: Offsets,
    /// Code by the offset of its first instruction, ordered.
    entries: Vec<(u16, CodeOffset)>,
    /// The fence after which `source` was last seen to equal memory.
    verified: u64,
    /// The segments of the code memory that hold its code, as bits.
    segments: u32,
}

impl Page {
    fn new(source: Box<[u64; PAGE / 8]>, fence: u64) -> Self {
        Self {
            source,
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

    /// Adds the code of a unit in `segment`, made from the parcels in `covered`.
    pub(super) fn add(
        &mut self,
        entries: &[(u16, CodeOffset)],
        covered: impl Iterator<Item = u16>,
        segment: u32,
    ) {
        self.segments |= 1 << segment;
        for offset in covered {
            self.covered.insert(offset);
        }
        for &(offset, code) in entries {
            match self.entries.binary_search_by_key(&offset, |entry| entry.0) {
                Ok(index) => self.entries[index].1 = code,
                Err(index) => self.entries.insert(index, (offset, code)),
            }
        }
    }

    /// Whether what was translated is what `now` holds. The rest is brought up to date.
    fn agrees(&mut self, now: &[u64; PAGE / 8]) -> bool {
        for (index, (old, &new)) in self.source.iter_mut().zip(now).enumerate() {
            if *old == new {
                continue;
            }
            let differs = (0..4).any(|parcel| {
                let covered = self.covered.of_quad(index) >> parcel & 1 != 0;
                covered && (*old ^ new) >> (16 * parcel) & 0xffff != 0
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
                let equal = unsafe { equals_page(at, &page.source) };
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
            let page = Some(Page::new(Box::new(*source), now));
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

/// A copy of the guest's page that `at` is in.
pub(super) fn read_page(at: HostAddress) -> [u64; PAGE / 8] {
    let start = at.0 & !(PAGE - 1);
    std::array::from_fn(|index| {
        // SAFETY: whoever has a `HostAddress` of code found its whole page to be RAM; pages of
        // host and guest coincide.
        unsafe { u64::load(HostAddress(start + 8 * index)) }
    })
}

/// Whether the guest's page that `at` is in holds exactly this. Harts look at every page that they
/// run code of after each `fence.i`: this is worth being quick about.
#[target_feature(enable = "avx")]
fn equals_page(at: HostAddress, source: &[u64; PAGE / 8]) -> bool {
    let start = at.0 & !(PAGE - 1);
    let differs: u8;
    // SAFETY: reads one page of live RAM, as `read_page`, and `source`. Other harts may write to
    // the page meanwhile: that is no data race in the sense of the language, as the reads are not
    // its own.
    unsafe {
        std::arch::asm!(
            "vxorps {sum}, {sum}, {sum}",
            "2:",
            "vmovups {a}, [{memory} + {index}]",
            "vmovups {b}, [{memory} + {index} + 32]",
            "vxorps {a}, {a}, [{source} + {index}]",
            "vxorps {b}, {b}, [{source} + {index} + 32]",
            "vorps {a}, {a}, {b}",
            "vorps {sum}, {sum}, {a}",
            "add {index}, 64",
            "jnz 2b",
            "vptest {sum}, {sum}",
            "setnz {differs}",
            "vzeroupper",
            memory = in(reg) start + PAGE,
            source = in(reg) source.as_ptr() as usize + PAGE,
            index = inout(reg) 0usize.wrapping_sub(PAGE) => _,
            a = out(ymm_reg) _,
            b = out(ymm_reg) _,
            sum = out(ymm_reg) _,
            differs = out(reg_byte) differs,
            options(readonly, nostack),
        );
    }
    differs == 0
}
