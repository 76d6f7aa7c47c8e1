//! A machine that is kept in a folder, as its process finds it there.

use std::path::Path;

use clade_store::sealed::{self, Document};
use clade_store::snapshots::{CODE_CACHE, MEMORY_INDEX, STATE};
use serde::{Deserialize, Serialize};

use crate::machine::MachineState;
use crate::saved_memory::SavedMemory;

/// The state of a machine, but for its memory and its disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedState {
    /// Whether the guest had said that it is ready to be worked with.
    pub guest_ready: bool,
    /// Devices and vCPUs.
    pub machine: MachineState,
}

impl Document for SavedState {
    const KIND: &'static str = "machine state";
    const VERSION: u32 = 2;
}

/// A machine that goes on where it was.
#[derive(Debug)]
pub struct Saved {
    /// Devices and vCPUs.
    pub state: SavedState,
    /// Its memory.
    pub memory: SavedMemory,
}

impl Saved {
    /// Opens what is kept in `folder`.
    ///
    /// # Errors
    /// When something is missing, damaged, or of another version.
    pub fn open(folder: &Path) -> Result<Self, String> {
        let state = sealed::read(&folder.join(STATE)).map_err(|error| error.to_string())?;
        Ok(Self {
            state,
            memory: SavedMemory::open(folder, MEMORY_INDEX, CODE_CACHE)?,
        })
    }
}
