//! Which pages of guest RAM were written: by vCPUs, as KVM logs them, and by devices, as RAM's own
//! bitmap has them.
//!
//! KVM's log costs the guest something for every page, so it is off until somebody asks. Then the
//! host's own page tables say what was written since the memory was mapped: guest RAM is a private
//! mapping, of nothing or of immutable files, so a page that is the process's own was written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use clade_engine::{DirtyPages, EngineError, PAGE_SIZE, PageRun, harvest_dirty, push_page};
use kvm_bindings::KVM_MEM_LOG_DIRTY_PAGES;
use kvm_ioctls::VmFd;

use crate::engine::refused;
use crate::memory::{Memory, Slot};

/// Whether KVM's log is on.
#[derive(Debug, Default)]
pub(crate) struct DirtyLog {
    on: bool,
}

impl DirtyLog {
    /// The pages written since this was last called, or since the memory was mapped.
    pub(crate) fn take(
        &mut self,
        vm: &VmFd,
        memory: &Memory,
        page_map: Option<&PageMap>,
    ) -> Result<DirtyPages, EngineError> {
        let mut runs = harvest_dirty(&memory.ram);
        let first = !self.on;
        if first {
            // Before the page tables are read, so that no write is missed.
            for slot in &memory.slots {
                slot.set(vm, KVM_MEM_LOG_DIRTY_PAGES)?;
            }
            self.on = true;
        }
        for slot in &memory.slots {
            match first {
                true => written_ever(slot, page_map, &mut runs),
                false => {
                    let log = (vm.get_dirty_log(slot.number, slot.size as usize))
                        .map_err(refused("to tell which pages were written"))?;
                    let set = |page: usize| {
                        let word = log.get(page / 64).copied().unwrap_or(u64::MAX);
                        word >> (page % 64) & 1 != 0
                    };
                    push_pages(slot, 0..slot.pages(), set, &mut runs);
                }
            }
        }
        Ok(joined(runs))
    }
}

fn written_ever(slot: &Slot, page_map: Option<&PageMap>, runs: &mut DirtyPages) {
    let mark = runs.len();
    let told = page_map.map(|map| map.written(slot, runs));
    if !matches!(told, Some(Ok(()))) {
        // Where the host does not tell, it may have been any.
        runs.truncate(mark);
        runs.push(PageRun {
            start: slot.start,
            pages: slot.size / PAGE_SIZE,
        });
    }
}

/// Appends the runs of those pages of a slot for which `written` holds.
fn push_pages(
    slot: &Slot,
    pages: std::ops::Range<usize>,
    written: impl Fn(usize) -> bool,
    runs: &mut DirtyPages,
) {
    for page in pages.filter(|page| written(*page)) {
        push_page(runs, slot.start + page as u64 * PAGE_SIZE);
    }
}

/// In ascending order, neither overlapping nor touching.
fn joined(mut runs: DirtyPages) -> DirtyPages {
    runs.sort_unstable_by_key(|run| run.start);
    let mut joined: DirtyPages = Vec::with_capacity(runs.len());
    for run in runs {
        let end = run.start + run.pages * PAGE_SIZE;
        match joined.last_mut() {
            Some(last) if last.start + last.pages * PAGE_SIZE >= run.start => {
                last.pages = last.pages.max((end - last.start) / PAGE_SIZE);
            }
            _ => joined.push(run),
        }
    }
    joined
}

/// What the host says of this process's pages (Linux, `Documentation/admin-guide/mm/pagemap.rst`).
#[derive(Debug)]
pub(crate) struct PageMap(File);

const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
const OF_FILE: u64 = 1 << 61;

impl PageMap {
    /// Opens it; a process that was confined no longer can.
    pub(crate) fn open() -> io::Result<Self> {
        File::open("/proc/self/pagemap").map(Self)
    }

    /// Appends the pages of `slot` that are this process's own.
    fn written(&self, slot: &Slot, runs: &mut DirtyPages) -> io::Result<()> {
        const PAGES_AT_ONCE: usize = 8192;
        let mut words = vec![0; PAGES_AT_ONCE * 8];
        for first in (0..slot.pages()).step_by(PAGES_AT_ONCE) {
            let count = PAGES_AT_ONCE.min(slot.pages() - first);
            let words = &mut words[..count * 8];
            let page = slot.host / PAGE_SIZE + first as u64;
            self.0.read_exact_at(words, page * 8)?;
            let own = |page: usize| {
                let word = words[(page - first) * 8..].first_chunk();
                let word = word.map_or(PRESENT, |bytes| u64::from_le_bytes(*bytes));
                word & (PRESENT | SWAPPED) != 0 && word & OF_FILE == 0
            };
            push_pages(slot, first..first + count, own, runs);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(start: u64, pages: u64) -> PageRun {
        PageRun { start, pages }
    }

    #[test]
    fn runs_of_several_sources_become_one_set() {
        let runs = vec![
            run(0x8000, 2),
            run(0x1000, 1),
            run(0x2000, 3),
            run(0x3000, 1),
            run(0x9000, 4),
            run(0x10000, 1),
        ];
        assert_eq!(
            joined(runs),
            [run(0x1000, 4), run(0x8000, 5), run(0x10000, 1)]
        );
    }
}
