//! Which pages a guest has written.

use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use crate::{GuestRam, PAGE_SIZE};

/// A run of consecutive guest pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRun {
    /// Guest physical address of the first page, a multiple of [`PAGE_SIZE`].
    pub start: u64,
    /// Number of pages, at least 1.
    pub pages: u64,
}

/// The pages written since the previous harvest: runs in ascending order that neither overlap
/// nor touch.
pub type DirtyPages = Vec<PageRun>;

/// Reads and clears the bitmaps of `ram`, for an engine whose vCPUs mark them.
///
/// An engine that caches the right to write (a TLB) must revoke it *after* this call and before
/// the pages' contents are read: a write that slips in between is then part of what is read.
pub fn harvest_dirty(ram: &GuestRam) -> DirtyPages {
    let mut runs: DirtyPages = Vec::new();
    for region in ram.iter() {
        let words = region.get_mmap().bitmap().get_and_reset();
        for (index, word) in words.into_iter().enumerate() {
            let mut rest = word;
            while rest != 0 {
                let page = index as u64 * 64 + u64::from(rest.trailing_zeros());
                rest &= rest - 1;
                push_page(&mut runs, region.start_addr().0 + page * PAGE_SIZE);
            }
        }
    }
    runs
}

/// Appends the page at guest physical address `start`, which joins the last of `runs` if it follows it.
pub fn push_page(runs: &mut DirtyPages, start: u64) {
    match runs.last_mut() {
        Some(run) if run.start + run.pages * PAGE_SIZE == start => run.pages += 1,
        _ => runs.push(PageRun { start, pages: 1 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_memory::{Bytes, GuestAddress};

    #[test]
    fn harvest_returns_runs_once() {
        let ram = GuestRam::from_ranges(&[
            (GuestAddress(0x8000_0000), 256 << 12),
            (GuestAddress(0x9000_0000), 4 << 12),
        ])
        .expect("memory");
        for page in [0u64, 63, 64, 65, 255] {
            let address = GuestAddress(0x8000_0000 + page * PAGE_SIZE + 100);
            ram.write_obj(1u8, address).expect("write");
        }
        // A write across a page boundary dirties both pages.
        ram.write_obj(1u64, GuestAddress(0x9000_1ffc))
            .expect("write");
        let run = |start, pages| PageRun { start, pages };
        assert_eq!(
            harvest_dirty(&ram),
            [
                run(0x8000_0000, 1),
                run(0x8003_f000, 3),
                run(0x800f_f000, 1),
                run(0x9000_1000, 2)
            ]
        );
        assert_eq!(harvest_dirty(&ram), []);
    }
}
