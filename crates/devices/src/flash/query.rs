use super::Geometry;
use super::device::BUFFER_SIZE;

/// The table's last index.
const LAST: usize = 0x3f;

/// Byte `index` of one chip's query structure (JESD68.01, section 2), for a flash of `size` bytes
/// over all chips.
pub(super) fn byte(geometry: Geometry, size: u64, index: u64) -> u8 {
    let table = table(geometry, size / geometry.chips);
    usize::try_from(index)
        .ok()
        .and_then(|index| table.get(index))
        .copied()
        .unwrap_or(0)
}

fn table(geometry: Geometry, chip_size: u64) -> [u8; LAST + 1] {
    let Geometry { word, chips, block } = geometry;
    let block = block / chips;
    let blocks = (chip_size / block).max(1);
    let mut table = [0; LAST + 1];
    let mut set = |index: usize, bytes: &[u8]| {
        table[index..index + bytes.len()].copy_from_slice(bytes);
    };
    set(0x10, b"QRY");
    // The Intel command set, and where its own table is.
    set(0x13, &[0x01, 0x00]);
    set(0x15, &[0x31, 0x00]);
    // Supply voltages of 4.5 to 5.5 V.
    set(0x1b, &[0x45, 0x55]);
    // Typical times (2^n us, us, ms), and the worst as multiples of them (2^n).
    set(0x1f, &[0x07, 0x07, 0x0a, 0x00]);
    set(0x23, &[0x04, 0x04, 0x04, 0x00]);
    set(0x27, &[chip_size.ilog2() as u8]);
    // An interface of 8 bits, or of 16.
    set(0x28, &[u8::from(word / chips > 1), 0x00]);
    set(0x2a, &[(BUFFER_SIZE / chips).ilog2() as u8, 0x00]);
    // One region of equal blocks.
    set(0x2c, &[0x01]);
    set(0x2d, &((blocks - 1) as u16).to_le_bytes());
    set(0x2f, &((block / 256) as u16).to_le_bytes());
    set(0x31, b"PRI10");
    table
}
