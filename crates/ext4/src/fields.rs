//! Putting numbers into on-disk structures, at the offsets that the documentation gives.

/// An on-disk structure of `N` bytes, zero where nothing was put.
pub(crate) struct Record<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> Record<N> {
    pub(crate) fn new() -> Self {
        Self([0; N])
    }

    pub(crate) fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.0[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn put_u8(&mut self, offset: usize, value: u8) {
        self.0[offset] = value;
    }

    pub(crate) fn put_u16(&mut self, offset: usize, value: u16) {
        self.put(offset, &value.to_le_bytes());
    }

    pub(crate) fn put_u32(&mut self, offset: usize, value: u32) {
        self.put(offset, &value.to_le_bytes());
    }

    /// The journal's structures are big-endian.
    pub(crate) fn put_be32(&mut self, offset: usize, value: u32) {
        self.put(offset, &value.to_be_bytes());
    }

    /// Splits a number over two fields, its low and its high 16 bits.
    pub(crate) fn put_split16(&mut self, low: usize, high: usize, value: u32) {
        self.put_u16(low, value as u16);
        self.put_u16(high, (value >> 16) as u16);
    }

    /// Splits a number over two fields, its low and its high 32 bits.
    pub(crate) fn put_split32(&mut self, low: usize, high: usize, value: u64) {
        self.put_u32(low, value as u32);
        self.put_u32(high, (value >> 32) as u32);
    }
}
