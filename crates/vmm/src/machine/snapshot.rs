//! Keeping a machine as it is at one instant, while it runs.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clade_disk::DiskError;
use clade_engine::{DirtyPages, EngineError, GuestRam, PAGE_SIZE};
use clade_store::memory::{Joining, LayerWriter, MemoryIndex, PAGE};
use clade_store::{FileName, sealed};
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::{Core, MachineError, MachineHandle, StillBusy, lock};
use crate::page_set::PageSet;
use crate::saved::SavedState;

/// A round of copying that leaves no more pages than this to the next is followed by the last, in
/// which the guest waits.
const FEW: u64 = 256;

/// There are no more rounds than this in which the guest runs.
const ROUNDS: u32 = 8;

/// Saved memory is in no more pieces than this, for each is a mapping of whoever restores it, some
/// 3 µs.
const RUNS_MAX: usize = 4096;

/// Fewer pieces than this are not worth copying anything, more are worth as much as was written.
const RUNS_ENOUGH: usize = 256;

/// So many pages are copied at once.
const BATCH: u64 = 256;

/// Where a machine is to be kept. All files are open for writing, and empty.
#[derive(Debug)]
pub struct SnapshotFiles {
    /// For its memory, if that is to be kept.
    pub memory: Option<MemoryFiles>,
    /// New layers for its disks, in the disks' order; `None` leaves a disk as it is.
    pub tops: Vec<Option<(File, PathBuf)>>,
}

/// Where memory and what belongs to it are to be kept.
#[derive(Debug)]
pub struct MemoryFiles {
    /// The layer of the pages that were written since the machine was last kept.
    pub layer: File,
    /// What it will be called.
    pub name: FileName,
    /// Where each page is.
    pub index: File,
    /// For a [`SavedState`].
    pub state: File,
    /// What the engine has made of the guest's code, if that is worth it.
    pub code_cache: File,
    /// Whether there is one of before.
    pub has_code_cache: bool,
    /// Earlier layers that are still there. If any is missing that is needed, all memory is written.
    pub layers: Vec<FileName>,
    /// Whether the guest has said that it is ready to be worked with.
    pub guest_ready: bool,
}

/// What was kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// How long the guest stood still.
    pub pause: Duration,
    /// Pages of memory that were written to the new layer.
    pub pages: u64,
    /// Of these, how many while the guest stood still.
    pub last_pages: u64,
    /// The layers in which the memory is now.
    pub layers: Vec<FileName>,
    /// Whether a code cache was written. Else that of before, if there is one, is as good.
    pub code_cache: bool,
}

/// Why a machine was not kept. It runs on.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It does not come to a halt.
    #[error(transparent)]
    Busy(#[from] StillBusy),
    /// Its state cannot be had.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// A disk.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A file cannot be written.
    #[error("the machine's {what} cannot be written: {source}; is there enough space?")]
    Write {
        /// What was to be written.
        what: &'static str,
        /// The host's answer.
        source: io::Error,
    },
}

impl From<EngineError> for SnapshotError {
    fn from(error: EngineError) -> Self {
        Self::Machine(error.into())
    }
}

impl SnapshotError {
    fn write(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Write { what, source }
    }
}

/// What the machine's memory was when it was last kept, or began.
#[derive(Debug, Default)]
pub(super) struct MemoryBase {
    pub(super) index: MemoryIndex,
    /// What has been written since, as far as the engine was asked.
    written: PageSet,
}

impl MemoryBase {
    pub(super) fn new(index: MemoryIndex) -> Self {
        Self {
            index,
            written: PageSet::default(),
        }
    }

    /// Asks the engine what was written meanwhile.
    fn harvest(&mut self, core: &Core) -> Result<DirtyPages, EngineError> {
        let pages = core.board.engine().take_dirty_pages()?;
        self.written.insert_all(&pages);
        Ok(pages)
    }

    /// Forgets what was kept if some of it is gone: all memory counts as written.
    fn rely_on(&mut self, layers: &[FileName], ram: &GuestRam) {
        if self.index.layers().iter().all(|name| layers.contains(name)) {
            return;
        }
        self.index = MemoryIndex::default();
        for region in ram.iter() {
            let first = region.start_addr().0 / PAGE_SIZE;
            self.written.insert(first..first + region.len() / PAGE_SIZE);
        }
    }
}

impl MachineHandle {
    /// Keeps the machine as it is at one instant: memory, devices, vCPUs and disks. It runs meanwhile,
    /// but for the instant itself. `copied` is called now and then with the number of pages written.
    ///
    /// Syncing the files is left to the caller. Whether or not this fails, `switched` says of each disk
    /// whether its new layer is in use.
    ///
    /// # Errors
    /// When the machine does not come to a halt, or a file cannot be written. It then runs on, and the
    /// files are worth nothing but for layers in use.
    pub fn snapshot(
        &self,
        files: SnapshotFiles,
        switched: &mut Vec<bool>,
        copied: &mut dyn FnMut(u64),
    ) -> Result<Taken, SnapshotError> {
        let core = &*self.0;
        let SnapshotFiles { memory, tops } = files;
        let mut base = lock(&core.memory);
        let mut saving = memory.map(|files| Saving::begin(core, &mut base, files));
        if let Some(saving) = &mut saving {
            saving.copy_ahead(&mut base, copied)?;
        }
        let stopped = Instant::now();
        let frozen = self.freeze()?;
        let state = match &mut saving {
            Some(saving) => {
                saving.copy_last(&mut base)?;
                Some(SavedState {
                    guest_ready: saving.guest_ready,
                    machine: frozen.save()?,
                })
            }
            None => None,
        };
        for (disk, top) in core.disks.iter().zip(tops) {
            let Some((file, path)) = top else {
                switched.push(false);
                continue;
            };
            disk.branch(file, &path)?;
            switched.push(true);
        }
        let pause = stopped.elapsed();
        drop(frozen);
        for disk in &core.disks {
            disk.settle()?;
        }
        let (Some(saving), Some(state)) = (saving, state) else {
            return Ok(Taken {
                pause,
                pages: 0,
                last_pages: 0,
                layers: Vec::new(),
                code_cache: false,
            });
        };
        saving.finish(&mut base, &state, pause)
    }

    /// Writes what the engine has made of the guest's code to `file`, which is empty. Returns whether there
    /// was anything.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save_code_cache(&self, file: &File) -> io::Result<bool> {
        self.0.board.engine().save_code_cache(file, true)
    }
}

/// Memory that is being written to a new layer.
struct Saving<'a> {
    core: &'a Core,
    writer: LayerWriter,
    name: FileName,
    index: File,
    state: File,
    code_cache: File,
    has_code_cache: bool,
    guest_ready: bool,
    /// What was written again since it was copied.
    left: PageSet,
    last_pages: u64,
}

impl<'a> Saving<'a> {
    fn begin(core: &'a Core, base: &mut MemoryBase, files: MemoryFiles) -> Self {
        base.rely_on(&files.layers, core.board.ram());
        Self {
            core,
            writer: LayerWriter::new(files.layer),
            name: files.name,
            index: files.index,
            state: files.state,
            code_cache: files.code_cache,
            has_code_cache: files.has_code_cache,
            guest_ready: files.guest_ready,
            left: PageSet::default(),
            last_pages: 0,
        }
    }

    /// Copies what was written, and again what was written meanwhile, until little is left.
    fn copy_ahead(
        &mut self,
        base: &mut MemoryBase,
        copied: &mut dyn FnMut(u64),
    ) -> Result<(), SnapshotError> {
        base.harvest(self.core)?;
        let mut wanted = base.written.clone();
        let mut total = 0;
        for _ in 0..ROUNDS {
            self.copy(&wanted, &mut |pages| {
                total += pages;
                copied(total);
            })?;
            self.left.clear();
            self.left.insert_all(&base.harvest(self.core)?);
            // A guest that writes faster than it is copied is not caught up with.
            if self.left.count() <= FEW || self.left.count() >= wanted.count() {
                break;
            }
            wanted.clone_from(&self.left);
        }
        self.fill_gaps(base)
    }

    /// Copies clean pages along where that spares mappings. What the guest writes there meanwhile
    /// is left for the last round, as anything else.
    fn fill_gaps(&mut self, base: &MemoryBase) -> Result<(), SnapshotError> {
        let joining = Joining {
            enough: RUNS_ENOUGH,
            pages: self.writer.pages(),
            most: RUNS_MAX,
        };
        for pages in self.writer.fill_gaps(&base.index, joining) {
            let mut whole = PageSet::default();
            whole.insert(pages);
            let writer = &mut self.writer;
            copy(self.core.board.ram(), &whole, |first, pages| {
                writer.put_whole(first, pages)
            })?;
        }
        Ok(())
    }

    /// Copies the rest, of a machine that stands still.
    fn copy_last(&mut self, base: &mut MemoryBase) -> Result<(), SnapshotError> {
        let mut last = std::mem::take(&mut self.left);
        last.insert_all(&base.harvest(self.core)?);
        self.last_pages = last.count();
        self.copy(&last, &mut |_| ())
    }

    fn copy(&mut self, wanted: &PageSet, copied: &mut dyn FnMut(u64)) -> Result<(), SnapshotError> {
        let writer = &mut self.writer;
        copy(self.core.board.ram(), wanted, |first, pages| {
            writer.put_run(first, pages)?;
            copied(pages.len() as u64);
            Ok(())
        })
    }

    fn finish(
        self,
        base: &mut MemoryBase,
        state: &SavedState,
        pause: Duration,
    ) -> Result<Taken, SnapshotError> {
        // Whoever goes on without it translates again.
        let engine = self.core.board.engine();
        let code_cache = engine.save_code_cache(&self.code_cache, !self.has_code_cache);
        let finished = self.writer.finish(self.name, &base.index);
        let (index, summary) = finished.map_err(SnapshotError::write("memory"))?;
        index
            .save(&self.index)
            .map_err(SnapshotError::write("memory index"))?;
        sealed::save(&self.state, state).map_err(SnapshotError::write("state"))?;
        let layers = index.layers().to_vec();
        *base = MemoryBase::new(index);
        Ok(Taken {
            pause,
            pages: summary.pages,
            last_pages: self.last_pages,
            layers,
            code_cache: code_cache.unwrap_or(false),
        })
    }
}

/// Hands pages of guest memory to `put`, as they are now: consecutive ones, with the first one's number.
fn copy(
    ram: &GuestRam,
    wanted: &PageSet,
    mut put: impl FnMut(u64, &[[u8; PAGE]]) -> io::Result<()>,
) -> Result<(), SnapshotError> {
    let mut buffer = vec![[0; PAGE]; BATCH as usize];
    for run in wanted.runs() {
        for first in run.clone().step_by(BATCH as usize) {
            let pages = &mut buffer[..(run.end - first).min(BATCH) as usize];
            let address = GuestAddress(first * PAGE_SIZE);
            ram.read_slice(pages.as_flattened_mut(), address)
                .map_err(|error| SnapshotError::write("memory")(io::Error::other(error)))?;
            put(first, pages).map_err(SnapshotError::write("memory"))?;
        }
    }
    Ok(())
}
