//! Guest memory as it was kept.

use clade_engine::GuestRam;

/// The memory of a machine that was saved.
#[derive(Debug)]
pub struct SavedMemory;

impl SavedMemory {
    pub(crate) fn map_into(&self, _ram: &GuestRam) -> Result<(), String> {
        Err("not yet".into())
    }
}
