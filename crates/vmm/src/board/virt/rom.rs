//! Read-only memory.

use clade_engine::IoDevice;

/// Bytes that a guest can read but not write; zeroes behind them.
pub(super) struct Rom(pub(super) Vec<u8>);

impl IoDevice for Rom {
    fn read(&self, offset: u64, data: &mut [u8]) {
        for (address, byte) in (offset..).zip(data) {
            *byte = usize::try_from(address)
                .ok()
                .and_then(|i| self.0.get(i))
                .copied()
                .unwrap_or(0);
        }
    }

    fn write(&self, _offset: u64, _data: &[u8]) {}
}

/// What OpenSBI's dynamic firmware is told of the next stage (`struct fw_dynamic_info`, OpenSBI
/// documentation, "FW_DYNAMIC"): enter `next` in S-mode on whichever hart comes first.
pub(super) fn dynamic_information(next: u64) -> Vec<u8> {
    const MAGIC: u64 = 0x4942_534f;
    const VERSION: u64 = 2;
    const SUPERVISOR: u64 = 1;
    const OPTIONS: u64 = 0;
    const ANY_HART: u64 = u64::MAX;
    [MAGIC, VERSION, next, SUPERVISOR, OPTIONS, ANY_HART]
        .into_iter()
        .flat_map(u64::to_le_bytes)
        .collect()
}
