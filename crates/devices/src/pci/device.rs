use std::sync::Mutex;

use super::{ConfigSpace, Doorbell, Msix};
use crate::sync::lock;

/// A PCI function behind a [`super::PciHost`]. The host keeps its configuration space.
pub trait PciDevice: Send + Sync {
    /// The function's configuration space after reset. Asked once, when it is plugged in.
    fn config_space(&self) -> ConfigSpace;

    /// Reads `data.len()` (1 to 8) bytes at `offset` of BAR `bar`, which reach no further than
    /// its end.
    fn bar_read(&self, bar: u8, offset: u64, data: &mut [u8]);

    /// Writes `data` (1 to 8 bytes) at `offset` of BAR `bar`.
    fn bar_write(&self, bar: u8, offset: u64, data: &[u8]);

    /// The function's MSI-X table, if it has one. The host tells it what the guest writes to its message
    /// control, and saves it.
    fn msix(&self) -> Option<&Msix> {
        None
    }

    /// Where the function's BARs have doorbells. Asked once, when it is plugged in.
    fn doorbells(&self) -> Vec<Doorbell> {
        Vec::new()
    }

    /// Reads configuration space. For functions with registers there that do more than hold
    /// what was written.
    fn config_read(&self, config: &Mutex<ConfigSpace>, offset: usize, data: &mut [u8]) {
        lock(config).read(offset, data);
    }

    /// Writes configuration space; see [`PciDevice::config_read`].
    fn config_write(&self, config: &Mutex<ConfigSpace>, offset: usize, data: &[u8]) {
        lock(config).write(offset, data);
    }
}
