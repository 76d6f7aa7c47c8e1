//! Guest memory as it was kept: pages of immutable layers, mapped privately, so that machines share
//! what they do not write.

use std::fs::File;
use std::io;
use std::path::Path;

use clade_engine::GuestRam;
use clade_store::memory::{MemoryIndex, PAGE};
use rustix::mm::{MapFlags, ProtFlags};
use vm_memory::{GuestAddress, GuestMemoryBackend};

/// The memory of a machine that was saved.
#[derive(Debug)]
pub struct SavedMemory {
    index: MemoryIndex,
    /// The layers, in the index's order.
    layers: Vec<File>,
    /// What an engine made of the guest's code in it.
    code_cache: Option<File>,
}

impl SavedMemory {
    /// Opens the memory whose index is `index` in `folder`, with its layers beside it, and the code cache if
    /// there is one.
    ///
    /// # Errors
    /// When something is missing, or damaged as far as the index and the layers' lengths tell.
    pub fn open(folder: &Path, index: &str, code_cache: &str) -> Result<Self, String> {
        let index = MemoryIndex::read(&folder.join(index)).map_err(|error| error.to_string())?;
        let open = |(name, length): (&clade_store::FileName, u64)| {
            let path = folder.join(name);
            let told = |error: io::Error| format!("cannot read {}: {error}", path.display());
            let file = File::open(&path).map_err(told)?;
            let has = file.metadata().map_err(told)?.len();
            if has < length {
                return Err(format!(
                    "{} is damaged: it has {has} bytes of at least {length}",
                    path.display()
                ));
            }
            Ok(file)
        };
        let lengths = index.layer_lengths();
        let layers = index.layers().iter().zip(lengths).map(open);
        Ok(Self {
            layers: layers.collect::<Result<_, _>>()?,
            index,
            code_cache: File::open(folder.join(code_cache)).ok(),
        })
    }

    /// What an engine made of the guest's code, for another of the same executable.
    pub(crate) fn code_cache(&self) -> Option<&File> {
        self.code_cache.as_ref()
    }

    /// Which page is where.
    pub(crate) fn index(&self) -> &MemoryIndex {
        &self.index
    }

    /// Maps the layers over `ram`, which nobody uses yet.
    pub(crate) fn map_into(&self, ram: &GuestRam) -> Result<(), String> {
        for run in self.index.overlays() {
            let length = run.pages as usize * PAGE;
            let address = GuestAddress(run.page * PAGE as u64);
            // All of it in one region, or none.
            let place = ram
                .get_slice(address, length)
                .map_err(|_| format!("{run:?} of the saved memory is not in this machine's"))?;
            let layer = &self.layers[run.layer as usize];
            // SAFETY: the pages lie within the mapping of guest RAM, which is this process's own,
            // and nobody has a reference into guest RAM. The file is as long as it must be, and
            // layers are never changed. When the RAM is given up, its whole range is unmapped.
            let mapped = unsafe {
                rustix::mm::mmap(
                    place.ptr_guard_mut().as_ptr().cast(),
                    length,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE,
                    layer,
                    run.slot * PAGE as u64,
                )
            };
            mapped.map_err(|error| format!("its saved memory cannot be mapped: {error}"))?;
        }
        Ok(())
    }
}
