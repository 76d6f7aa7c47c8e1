//! Feature bits and `struct virtio_blk_config` (section 5.2.4).

use virtio_bindings::virtio_blk as bits;

use super::BlockInfo;
use super::request::SECTOR;

/// Feature bits (section 5.2.3).
pub(super) mod feature {
    use virtio_bindings::virtio_blk as bits;

    pub(crate) const SEG_MAX: u64 = 1 << bits::VIRTIO_BLK_F_SEG_MAX;
    pub(crate) const READ_ONLY: u64 = 1 << bits::VIRTIO_BLK_F_RO;
    pub(crate) const BLOCK_SIZE: u64 = 1 << bits::VIRTIO_BLK_F_BLK_SIZE;
    pub(crate) const FLUSH: u64 = 1 << bits::VIRTIO_BLK_F_FLUSH;
    pub(crate) const TOPOLOGY: u64 = 1 << bits::VIRTIO_BLK_F_TOPOLOGY;
    pub(crate) const WRITE_CACHE: u64 = 1 << bits::VIRTIO_BLK_F_CONFIG_WCE;
    pub(crate) const QUEUES: u64 = 1 << bits::VIRTIO_BLK_F_MQ;
    pub(crate) const DISCARD: u64 = 1 << bits::VIRTIO_BLK_F_DISCARD;
    pub(crate) const WRITE_ZEROES: u64 = 1 << bits::VIRTIO_BLK_F_WRITE_ZEROES;
}

/// Descriptors of each queue.
pub(super) const QUEUE_SIZE: u16 = 256;

/// Most pieces of data in a request: what a queue holds, but for header and status.
const SEGMENTS_MAX: u32 = QUEUE_SIZE as u32 - 2;

/// Most bytes that one request discards or zeroes.
pub(super) const RANGE_MAX: u64 = 1 << 30;

/// The host works in pages: blocks of 2^3 sectors (section 5.2.4, `topology`).
const PHYSICAL_BLOCK_EXPONENT: u8 = 3;

/// Offset of the field that the driver may write.
pub(super) const WRITE_BACK: usize = 32;

pub(super) fn features(info: &BlockInfo) -> u64 {
    let always = feature::SEG_MAX
        | feature::BLOCK_SIZE
        | feature::FLUSH
        | feature::TOPOLOGY
        | feature::WRITE_CACHE
        | feature::QUEUES;
    let by_kind = if info.read_only {
        feature::READ_ONLY
    } else {
        feature::DISCARD | feature::WRITE_ZEROES
    };
    always | by_kind
}

pub(super) fn structure(info: &BlockInfo, queues: u16, write_back: bool) -> [u8; 60] {
    let mut bytes = [0; 60];
    let mut set = |offset: usize, value: &[u8]| {
        bytes[offset..offset + value.len()].copy_from_slice(value);
    };
    let sectors = |bytes: u64| ((bytes / SECTOR) as u32).to_le_bytes();
    set(0, &(info.capacity / SECTOR).to_le_bytes());
    set(12, &SEGMENTS_MAX.to_le_bytes());
    set(20, &(SECTOR as u32).to_le_bytes());
    set(24, &[PHYSICAL_BLOCK_EXPONENT, 0]);
    set(26, &(1u16 << PHYSICAL_BLOCK_EXPONENT).to_le_bytes());
    set(WRITE_BACK, &[u8::from(write_back)]);
    set(34, &queues.to_le_bytes());
    if !info.read_only {
        set(36, &sectors(RANGE_MAX));
        set(40, &1u32.to_le_bytes());
        set(44, &sectors(info.discard_granularity.into()));
        set(48, &sectors(RANGE_MAX));
        set(52, &1u32.to_le_bytes());
        set(56, &[1]);
    }
    bytes
}

const _: () = assert!(bits::VIRTIO_BLK_ID_BYTES as usize == super::request::ID_LENGTH);
