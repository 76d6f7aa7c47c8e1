use std::ops::Range;
use std::sync::Arc;

use clade_devices::BusBuilder;
use clade_engine::IoDevice;

use super::BoardError;

/// A fixed window of guest physical addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// First guest physical address.
    pub base: u64,
    /// Length in bytes.
    pub size: u64,
}

impl Window {
    /// A window of `size` bytes from `base` on.
    pub(super) const fn new(base: u64, size: u64) -> Self {
        Self { base, size }
    }

    /// The first address behind the window.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.base + self.size
    }

    /// The window as a half-open range.
    #[must_use]
    pub const fn range(&self) -> Range<u64> {
        self.base..self.end()
    }

    /// Puts `device` here.
    pub(super) fn insert(
        &self,
        devices: &mut BusBuilder,
        name: &'static str,
        device: Arc<dyn IoDevice>,
    ) -> Result<(), BoardError> {
        devices.insert(name, self.base, self.size, device)?;
        Ok(())
    }
}
