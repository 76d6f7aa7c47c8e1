//! Metadata checksums ("Checksums"): CRC-32C, without the inversions that others apply around it.

/// Continues the checksum `seed` over `bytes`.
pub(crate) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

/// What the checksums of one file system begin with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seed(pub(crate) u32);

impl Seed {
    pub(crate) fn new(uuid: &[u8; 16]) -> Self {
        Self(crc32c(!0, uuid))
    }

    /// What the checksums of an inode and its blocks begin with. Generations are zero here.
    pub(crate) fn of_inode(self, number: u32) -> u32 {
        crc32c(crc32c(self.0, &number.to_le_bytes()), &[0; 4])
    }
}
