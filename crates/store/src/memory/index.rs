use std::fs::File;
use std::mem;
use std::ops::Range;
use std::path::Path;

use super::{LayerName, PAGE, format};
use crate::{ContentError, Error, Staged};

/// Every page number is below this: physical addresses have 64 bits.
pub const MAX_PAGES: u64 = 1 << 52;

/// Runs that an index has at most. Far more than a machine should be restored from: each is a mapping.
pub const MAX_RUNS: usize = 1 << 20;

/// Every slot is below this, so that each byte of a layer has an offset.
pub(super) const MAX_SLOTS: u64 = i64::MAX as u64 / PAGE as u64;

/// Consecutive pages that lie in consecutive slots of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first page.
    pub page: u64,
    /// How many, at least one.
    pub pages: u64,
    /// The layer's place in [`MemoryIndex::layers`].
    pub layer: u32,
    /// The slot of the first page.
    pub slot: u64,
}

impl Run {
    /// The page behind the last.
    pub fn end(&self) -> u64 {
        self.page + self.pages
    }

    /// The slot behind the last.
    pub fn slot_end(&self) -> u64 {
        self.slot + self.pages
    }

    /// The pages by number.
    pub fn range(&self) -> Range<u64> {
        self.page..self.end()
    }

    /// What of it is in a range of pages, which it must touch.
    pub(super) fn within(self, range: Range<u64>) -> Self {
        let page = self.page.max(range.start);
        Self {
            page,
            pages: self.end().min(range.end) - page,
            slot: self.slot + (page - self.page),
            ..self
        }
    }

    fn continues(&self, before: &Self) -> bool {
        before.layer == self.layer && before.end() == self.page && before.slot_end() == self.slot
    }

    fn check(&self, layers: usize) -> Result<(), ContentError> {
        let inside = |first: u64, limit| {
            first
                .checked_add(self.pages)
                .is_some_and(|end| end <= limit)
        };
        let reason = if self.pages == 0 {
            "it has no pages"
        } else if !inside(self.page, MAX_PAGES) {
            "no address leads there"
        } else if !inside(self.slot, MAX_SLOTS) {
            "no layer is that long"
        } else if self.layer as usize >= layers {
            "there is no such layer"
        } else {
            return Ok(());
        };
        Err(ContentError::damaged(format!("{self:?}: {reason}")))
    }
}

/// Appends a run, to the last one if it continues that.
pub(super) fn append(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut() {
        Some(last) if run.continues(last) => last.pages += run.pages,
        _ => runs.push(run),
    }
}

/// Where each page of a machine's memory is. Pages of no run are zero, as all are by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryIndex {
    layers: Vec<LayerName>,
    runs: Vec<Run>,
}

impl MemoryIndex {
    /// An index of these runs in these layers. Runs that continue each other become one, and layers
    /// that none is in are left out.
    ///
    /// # Errors
    /// Runs are out of order, outside of the limits or in no layer; there are more than [`MAX_RUNS`]
    /// of them; two layers have one name.
    pub fn new(layers: Vec<LayerName>, runs: Vec<Run>) -> Result<Self, ContentError> {
        if runs.len() > MAX_RUNS {
            let count = runs.len();
            let reason = format!("it has {count} runs of pages, more than {MAX_RUNS}");
            return Err(ContentError::damaged(reason));
        }
        let mut merged: Vec<Run> = Vec::with_capacity(runs.len());
        for run in runs {
            run.check(layers.len())?;
            if merged.last().is_some_and(|last| last.end() > run.page) {
                let reason = format!("{run:?} is not behind the one before");
                return Err(ContentError::damaged(reason));
            }
            append(&mut merged, run);
        }
        let mut index = Self {
            layers,
            runs: merged,
        };
        index.drop_unused();
        index.check_names()?;
        Ok(index)
    }

    /// The layers that its pages are in.
    pub fn layers(&self) -> &[LayerName] {
        &self.layers
    }

    /// The runs of pages that are not zero, by page.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// What [`MemoryIndex::runs`] says, as fewer runs for whoever maps them in this order, each over what is
    /// there: a run goes on behind pages that a later layer has instead.
    pub fn overlays(&self) -> Vec<Run> {
        let mut overlays = Vec::with_capacity(self.runs.len());
        // What may go on behind `end`, each of a later layer than the one before it.
        let mut open: Vec<Run> = Vec::new();
        let mut end = 0;
        for run in &self.runs {
            if run.page != end {
                overlays.append(&mut open);
            }
            while let Some(covering) = open.pop_if(|last| last.layer > run.layer) {
                overlays.push(covering);
            }
            match open.last_mut() {
                Some(last) if last.layer == run.layer => {
                    if last.slot + (run.page - last.page) == run.slot {
                        last.pages = run.end() - last.page;
                    } else {
                        overlays.push(mem::replace(last, *run));
                    }
                }
                _ => open.push(*run),
            }
            end = run.end();
        }
        overlays.append(&mut open);
        overlays.sort_unstable_by_key(|run| (run.layer, run.page));
        overlays
    }

    /// Pages in its runs.
    pub fn page_count(&self) -> u64 {
        self.runs.iter().map(|run| run.pages).sum()
    }

    /// Where a page is: the layer's name and the slot in it; `None` if the page is zero.
    pub fn place(&self, page: u64) -> Option<(&LayerName, u64)> {
        let at = self.runs.partition_point(|run| run.end() <= page);
        let run = self.runs.get(at).filter(|run| run.page <= page)?;
        let layer = &self.layers[run.layer as usize];
        Some((layer, run.slot + (page - run.page)))
    }

    /// Bytes that the file of each layer must have at least, in the order of the layers. Whoever maps
    /// a shorter one is killed by SIGBUS where it ends.
    pub fn layer_lengths(&self) -> Vec<u64> {
        let mut lengths = vec![0; self.layers.len()];
        for run in &self.runs {
            let length = &mut lengths[run.layer as usize];
            *length = run.slot_end().max(*length);
        }
        lengths.iter().map(|slots| slots * PAGE as u64).collect()
    }

    /// Writes the index to an open file, in place of what is there.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, file: &File) -> std::io::Result<()> {
        use std::os::unix::fs::FileExt;
        let bytes = format::encode(self);
        file.set_len(0)?;
        file.write_all_at(&bytes, 0)
    }

    /// Reads the index in an open file, and checks every byte of it.
    ///
    /// # Errors
    /// The file cannot be read, or is not what was once written.
    pub fn load(file: &File) -> Result<Self, ContentError> {
        format::decode(&crate::content::read_whole(file, format::LONGEST)?)
    }

    /// Writes the index to a file of this name, by way of [`Staged`].
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let staged = Staged::create(path)?;
        self.save(staged.file())
            .map_err(|error| staged.write_error(error))?;
        staged.commit()
    }

    /// [`MemoryIndex::load`] of the file with this name.
    ///
    /// # Errors
    /// As there, naming the file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(|error| Error::io("open", path, error))?;
        Self::load(&file).map_err(|error| Error::content(path, error))
    }

    fn drop_unused(&mut self) {
        let mut used = vec![false; self.layers.len()];
        for run in &self.runs {
            used[run.layer as usize] = true;
        }
        let mut kept = 0;
        let new_places: Vec<u32> = used
            .iter()
            .map(|used| {
                let place = kept;
                kept += u32::from(*used);
                place
            })
            .collect();
        for run in &mut self.runs {
            run.layer = new_places[run.layer as usize];
        }
        let mut used = used.into_iter();
        self.layers.retain(|_| used.next() == Some(true));
    }

    fn check_names(&self) -> Result<(), ContentError> {
        let mut names: Vec<_> = self.layers.iter().collect();
        names.sort();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(ContentError::damaged(format!(
                "two layers are called {}",
                pair[0]
            ))),
            None => Ok(()),
        }
    }
}
