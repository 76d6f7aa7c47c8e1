//! Guest memory while things are being placed in it: what is taken, and where there is room.

use std::ops::Range;

use clade_engine::{GuestRam, PAGE_SIZE};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::error::Problem;
use super::program::Program;

/// Where the initial RAM disk and device tree should end, if possible: QEMU's `virt` machine keeps
/// both below 3 GiB for guests that reach no higher.
const COMFORTABLE_END: u64 = 3 << 30;

/// What firmware may use of memory from the start of RAM: OpenSBI keeps its heap and per-hart
/// stacks behind its image, and expects the next stage 2 MiB up.
const FIRMWARE_SPACE: u64 = 2 << 20;

/// Most memory that is kept for the device tree: what early Linux can map (`MAX_FDT_SIZE`).
const DEVICE_TREE_SPACE: u64 = 2 << 20;

/// The machine's RAM, and what of it is taken.
pub(super) struct Space {
    ram: Range<u64>,
    taken: Vec<Range<u64>>,
}

impl Space {
    /// The range `ram`, with nothing taken.
    pub(super) fn within(ram: Range<u64>) -> Self {
        Self {
            ram,
            taken: Vec::new(),
        }
    }

    /// The largest contiguous range of `ram`, with nothing taken.
    pub(super) fn of(ram: &GuestRam) -> Self {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for region in ram.iter() {
            let start = region.start_addr().0;
            match ranges.last_mut() {
                Some(range) if range.end == start => range.end += region.len(),
                _ => ranges.push(start..start + region.len()),
            }
        }
        let largest = ranges
            .into_iter()
            .max_by_key(|range| range.end - range.start);
        Self::within(largest.unwrap_or(0..0))
    }

    pub(super) fn ram(&self) -> &Range<u64> {
        &self.ram
    }

    pub(super) fn ram_size(&self) -> u64 {
        self.ram.end - self.ram.start
    }

    /// Takes the segments of `program`, which must lie in RAM and touch nothing that is taken,
    /// not even each other.
    pub(super) fn take_for(&mut self, program: &Program<'_>) -> Result<(), Problem> {
        for segment in &program.segments {
            self.take_range(segment.range.clone())?;
        }
        Ok(())
    }

    /// Takes `range`, which must lie in RAM and touch nothing that is taken.
    pub(super) fn take_range(&mut self, range: Range<u64>) -> Result<(), Problem> {
        if !self.ram.contains(&range.start) {
            let ram = self.ram.clone();
            return Err(Problem::OutsideRam {
                segment: range,
                ram,
            });
        }
        if range.end > self.ram.end {
            let need = range.end - self.ram.start;
            let have = self.ram_size();
            return Err(Problem::TooLarge { need, have });
        }
        if let Some(other) = self.taken.iter().find(|other| overlap(other, &range)) {
            let other = other.clone();
            return Err(Problem::Overlap {
                segment: range,
                other,
            });
        }
        self.taken.push(range);
        Ok(())
    }

    /// Keeps the start of RAM for firmware, which uses more of it than its image.
    pub(super) fn keep_for_firmware(&mut self) {
        let size = FIRMWARE_SPACE.min(self.ram_size() / 2);
        self.taken.push(self.ram.start..self.ram.start + size);
    }

    /// Takes space for the device tree: 2 MiB at a multiple of 2 MiB, less in tiny machines.
    pub(super) fn take_for_device_tree(&mut self) -> Result<Range<u64>, Problem> {
        let eighth = (self.ram_size() / 8).max(PAGE_SIZE);
        let size = (1 << eighth.ilog2()).min(DEVICE_TREE_SPACE);
        self.take(size, size)
    }

    /// Takes `size` bytes for the initial RAM disk, in whole pages.
    pub(super) fn take_for_initrd(&mut self, size: u64) -> Result<Range<u64>, Problem> {
        let start = self.take(size, PAGE_SIZE)?.start;
        Ok(start..start + size)
    }

    /// The same, ending at `end` at the latest.
    pub(super) fn take_for_initrd_below(
        &mut self,
        end: u64,
        size: u64,
    ) -> Result<Range<u64>, Problem> {
        let window = self.ram.start..self.ram.end.min(end);
        let range = self.highest_gap(&window, size, PAGE_SIZE);
        self.take_found(range, size)
    }

    /// Takes `size` bytes at a multiple of `align`, comfortably low if possible, and there as high
    /// as possible.
    fn take(&mut self, size: u64, align: u64) -> Result<Range<u64>, Problem> {
        let comfortable = self.ram.start..self.ram.end.min(COMFORTABLE_END);
        let range = self
            .highest_gap(&comfortable, size, align)
            .or_else(|| self.highest_gap(&self.ram, size, align));
        self.take_found(range, size)
    }

    /// Takes the gap that was found for `size` bytes, if one was.
    fn take_found(&mut self, range: Option<Range<u64>>, size: u64) -> Result<Range<u64>, Problem> {
        let range = range.ok_or_else(|| Problem::NoRoom {
            need: size,
            have: self.largest_gap(),
        })?;
        self.taken.push(range.clone());
        Ok(range)
    }

    fn highest_gap(&self, window: &Range<u64>, size: u64, align: u64) -> Option<Range<u64>> {
        self.gaps(window).into_iter().rev().find_map(|gap| {
            let start = gap.end.checked_sub(size)? / align * align;
            (start >= gap.start).then(|| start..start + size)
        })
    }

    fn largest_gap(&self) -> u64 {
        let gaps = self.gaps(&self.ram);
        gaps.iter()
            .map(|gap| gap.end - gap.start)
            .max()
            .unwrap_or(0)
    }

    /// The free parts of `window`, in ascending order.
    fn gaps(&self, window: &Range<u64>) -> Vec<Range<u64>> {
        let mut taken = self.taken.clone();
        taken.sort_by_key(|range| range.start);
        taken.push(window.end..u64::MAX);
        let mut gaps = Vec::new();
        let mut free = window.start;
        for range in taken {
            let end = range.start.min(window.end);
            if free < end {
                gaps.push(free..end);
            }
            free = free.max(range.end);
        }
        gaps
    }
}

/// Writes `bytes` to guest physical address `start`.
pub(super) fn write(ram: &GuestRam, start: u64, bytes: &[u8]) -> Result<(), Problem> {
    ram.write_slice(bytes, GuestAddress(start))
        .map_err(|error| Problem::Unreadable(std::io::Error::other(error)))
}

/// Zeroes guest physical addresses `range`.
pub(super) fn zero(ram: &GuestRam, range: Range<u64>) -> Result<(), Problem> {
    static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
    let mut start = range.start;
    while start < range.end {
        let len = ZEROS.len().min((range.end - start) as usize);
        write(ram, start, &ZEROS[..len])?;
        start += len as u64;
    }
    Ok(())
}

fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}
