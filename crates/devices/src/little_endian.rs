//! Bus data is 1 to 8 bytes, little-endian.

/// The value of `data`; bytes after the eighth are ignored.
pub(crate) fn value_of(data: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    let length = data.len().min(8);
    bytes[..length].copy_from_slice(&data[..length]);
    u64::from_le_bytes(bytes)
}

/// Fills `data` with the low bytes of `value`, and zeroes after the eighth.
pub(crate) fn put(data: &mut [u8], value: u64) {
    let bytes = value.to_le_bytes();
    for (index, byte) in data.iter_mut().enumerate() {
        *byte = bytes.get(index).copied().unwrap_or(0);
    }
}

/// Fills `data` with the bytes of `source` from `offset` on, and zeroes past its end.
pub(crate) fn put_from(data: &mut [u8], source: &[u8], offset: u64) {
    for (index, byte) in (offset..).zip(data.iter_mut()) {
        *byte = usize::try_from(index)
            .ok()
            .and_then(|index| source.get(index))
            .copied()
            .unwrap_or(0);
    }
}
