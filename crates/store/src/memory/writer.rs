use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::index::{MAX_RUNS, MemoryIndex, Run};
use super::overlay::overlay;
use super::page_map::{PageMap, Place};
use super::{LayerName, PAGE};

/// Bytes that are written at a time, if they come in small pieces.
const BATCH: usize = 1 << 20;

/// So many zero pages between others keep their slots, as holes in the file: they take no room there,
/// and spare a mapping. More are left out.
const SHORT: usize = 16;

/// Makes a layer: the pages that were written since some index.
///
/// A page has one slot, however often it is put, so a page that changes while its layer is made is
/// simply put again. After an error there is no way on but to drop the writer and the file.
#[derive(Debug)]
pub struct LayerWriter {
    file: File,
    map: PageMap,
    slots: u64,
    pending: Vec<u8>,
    pending_slot: u64,
    failed: bool,
}

/// What a finished layer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerSummary {
    /// Pages that are not zero. With none, the index does not name the layer, and nobody needs it.
    pub pages: u64,
    /// Bytes of the file. It may have holes.
    pub length: u64,
}

/// How far [`LayerWriter::fill_gaps`] goes to make the runs of an index fewer.
#[derive(Debug, Clone, Copy)]
pub struct Joining {
    /// With so many runs it is content (at least one).
    pub enough: usize,
    /// Pages that it may name for that.
    pub pages: u64,
    /// More runs than this there must not be (at least one), whatever the pages.
    pub most: usize,
}

impl LayerWriter {
    /// Begins a layer in an empty file, open for writing.
    pub fn new(file: File) -> Self {
        Self {
            file,
            map: PageMap::default(),
            slots: 0,
            pending: Vec::new(),
            pending_slot: 0,
            failed: false,
        }
    }

    /// Takes one page as it is now.
    ///
    /// # Errors
    /// The file cannot be written: [`io::ErrorKind::StorageFull`] where the disk is full.
    pub fn put(&mut self, page: u64, content: &[u8; PAGE]) -> io::Result<()> {
        self.put_run(page, std::slice::from_ref(content))
    }

    /// Takes consecutive pages as they are now. The more at once the better: what is in order is
    /// written in order, and only within a run can a few zero pages be kept along.
    ///
    /// # Errors
    /// As [`LayerWriter::put`].
    pub fn put_run(&mut self, first: u64, pages: &[[u8; PAGE]]) -> io::Result<()> {
        self.attempt(|this| {
            let mut at = 0;
            for stretch in pages.chunk_by(|a, b| is_zero(a) == is_zero(b)) {
                let (page, count) = (first + at as u64, stretch.len());
                at += count;
                let between = at > count && at < pages.len();
                if !is_zero(&stretch[0]) {
                    this.put_data(page, stretch)?;
                } else if between && count <= SHORT {
                    this.put_holes(page..page + count as u64)?;
                } else {
                    this.release(page..page + count as u64)?;
                }
            }
            Ok(())
        })
    }

    /// Takes consecutive pages into new slots, one behind the other, zero pages as holes: they are one
    /// run of the index afterwards. So are pieces put so one after the other.
    ///
    /// For what [`LayerWriter::fill_gaps`] asks for.
    ///
    /// # Errors
    /// As [`LayerWriter::put`].
    pub fn put_whole(&mut self, first: u64, pages: &[[u8; PAGE]]) -> io::Result<()> {
        self.attempt(|this| {
            let range = first..first + pages.len() as u64;
            this.release(range.clone())?;
            for page in range {
                let slot = this.new_slot()?;
                this.map.set(page, Place::Hole(slot));
            }
            let mut page = first;
            for stretch in pages.chunk_by(|a, b| is_zero(a) == is_zero(b)) {
                if !is_zero(&stretch[0]) {
                    this.put_data(page, stretch)?;
                }
                page += stretch.len() as u64;
            }
            Ok(())
        })
    }

    /// How many pages were put that are not zero.
    pub fn pages(&self) -> u64 {
        self.map.data_pages()
    }

    /// Takes pages that are zero now, without anybody looking at them.
    ///
    /// # Errors
    /// As [`LayerWriter::put`].
    pub fn put_zeroes(&mut self, pages: Range<u64>) -> io::Result<()> {
        self.attempt(|this| this.release(pages))
    }

    /// Which pages to put by [`LayerWriter::put_whole`], clean ones among them, so that the index has
    /// fewer runs. The smallest pieces that are near each other are joined, wherever they come from, so
    /// neither scattered writes nor a long history makes the number of runs grow.
    pub fn fill_gaps(&self, base: &MemoryIndex, joining: Joining) -> Vec<Range<u64>> {
        let runs = self.runs(base);
        let needed = runs.len().saturating_sub(joining.most.max(1));
        let wanted = runs.len().saturating_sub(joining.enough.max(1)).max(needed);
        if wanted == 0 {
            return Vec::new();
        }
        // Joining two neighbours makes one run less, and costs what lies between both ends.
        let cost = |left: &usize| runs[left + 1].end() - runs[*left].page;
        let mut joined: Vec<usize> = (0..runs.len() - 1).collect();
        joined.sort_unstable_by_key(|left| (cost(left), *left));
        joined.truncate(wanted);
        let mut spent = 0;
        let worth_it = joined.iter().enumerate().take_while(|(joins, left)| {
            spent += cost(left);
            *joins < needed || spent <= joining.pages
        });
        let worth_it = worth_it.count();
        joined.truncate(worth_it);
        joined.sort_unstable();
        let mut areas: Vec<Range<u64>> = Vec::new();
        for left in joined {
            let area = runs[left].page..runs[left + 1].end();
            match areas.last_mut() {
                Some(last) if last.end > area.start => last.end = area.end,
                _ => areas.push(area),
            }
        }
        areas
    }

    /// Completes the layer, which the caller will name `name` in the folder of the index: the result is
    /// `base` with everything that was put. Syncing the file is left to the caller.
    ///
    /// # Errors
    /// The file cannot be written, or something could not before; `base` has a layer of this name; memory
    /// is in more than [`MAX_RUNS`] pieces.
    pub fn finish(
        mut self,
        name: LayerName,
        base: &MemoryIndex,
    ) -> io::Result<(MemoryIndex, LayerSummary)> {
        self.attempt(|this| {
            this.flush()?;
            this.file.set_len(this.slots * PAGE as u64)
        })?;
        let refused = |reason| Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        if base.layers().contains(&name) {
            return refused(format!("there is a layer {name} already"));
        }
        let runs = self.runs(base);
        if runs.len() > MAX_RUNS {
            let count = runs.len();
            return refused(format!(
                "memory is in {count} pieces, more than the {MAX_RUNS} that an index can have"
            ));
        }
        let layers = base.layers().iter().cloned().chain([name]).collect();
        let index = MemoryIndex::new(layers, runs)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let summary = LayerSummary {
            pages: self.map.data_pages(),
            length: self.slots * PAGE as u64,
        };
        Ok((index, summary))
    }

    /// All runs as they are so far; the new layer is the one behind the base's.
    fn runs(&self, base: &MemoryIndex) -> Vec<Run> {
        overlay(base.runs(), &self.map.extents(), base.layers().len() as u32)
    }

    /// Once something has failed, nobody can tell what is in the file.
    fn attempt<T>(&mut self, act: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        if self.failed {
            return Err(io::Error::other("an earlier write to this layer failed"));
        }
        let result = act(self);
        self.failed = result.is_err();
        result
    }

    fn put_data(&mut self, first: u64, pages: &[[u8; PAGE]]) -> io::Result<()> {
        let (mut first, mut rest) = (first, pages);
        while !rest.is_empty() {
            let slot = self.data_slot(first)?;
            let mut count = 1;
            while count < rest.len() && self.data_slot(first + count as u64)? == slot + count as u64
            {
                count += 1;
            }
            let (run, behind) = rest.split_at(count);
            self.write(slot, run.as_flattened())?;
            (first, rest) = (first + count as u64, behind);
        }
        Ok(())
    }

    fn put_holes(&mut self, pages: Range<u64>) -> io::Result<()> {
        let mut cleared = Slots::default();
        for page in pages {
            let before = self.map.get(page);
            let slot = match before.slot() {
                Some(slot) => slot,
                None => self.new_slot()?,
            };
            self.map.set(page, Place::Hole(slot));
            if let Place::Data(slot) = before {
                cleared.push(slot);
            }
        }
        self.clear(cleared)
    }

    /// Pages are zero and give up their slots.
    fn release(&mut self, pages: Range<u64>) -> io::Result<()> {
        let mut cleared = Slots::default();
        for page in pages {
            if let Place::Data(slot) = self.map.get(page) {
                cleared.push(slot);
            }
            self.map.set(page, Place::Zero);
        }
        self.clear(cleared)
    }

    fn data_slot(&mut self, page: u64) -> io::Result<u64> {
        let slot = match self.map.get(page).slot() {
            Some(slot) => slot,
            None => self.new_slot()?,
        };
        self.map.set(page, Place::Data(slot));
        Ok(slot)
    }

    fn new_slot(&mut self) -> io::Result<u64> {
        if self.slots >= Place::MAX_SLOTS {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.slots += 1;
        Ok(self.slots - 1)
    }

    fn write(&mut self, slot: u64, bytes: &[u8]) -> io::Result<()> {
        let end = self.pending_slot + (self.pending.len() / PAGE) as u64;
        if slot != end || self.pending.len() + bytes.len() > BATCH {
            self.flush()?;
            self.pending_slot = slot;
        }
        if bytes.len() >= BATCH {
            return self.file.write_all_at(bytes, slot * PAGE as u64);
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let offset = self.pending_slot * PAGE as u64;
        self.file.write_all_at(&self.pending, offset)?;
        self.pending.clear();
        Ok(())
    }

    /// Makes slots read zero, and take no room where the file system can do that.
    fn clear(&mut self, slots: Slots) -> io::Result<()> {
        if slots.0.is_empty() {
            return Ok(());
        }
        self.flush()?;
        for range in slots.0 {
            let (offset, count) = (range.start * PAGE as u64, range.end - range.start);
            let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            match fallocate(&self.file, how, offset, count * PAGE as u64) {
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                    for slot in range {
                        self.file.write_all_at(&[0; PAGE], slot * PAGE as u64)?;
                    }
                }
                result => result?,
            }
        }
        Ok(())
    }
}

/// Slots in ranges, as far as they come in order.
#[derive(Default)]
struct Slots(Vec<Range<u64>>);

impl Slots {
    fn push(&mut self, slot: u64) {
        match self.0.last_mut() {
            Some(last) if last.end == slot => last.end += 1,
            _ => self.0.push(slot..slot + 1),
        }
    }
}

fn is_zero(page: &[u8; PAGE]) -> bool {
    *page == [0; PAGE]
}
