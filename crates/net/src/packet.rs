//! `struct virtio_net_hdr` (section 5.1.6): what is left to do of a packet's checksums and
//! segmentation.

/// Length of the header in front of every frame, in bytes.
pub const HEADER_LENGTH: usize = 12;

/// Length of an Ethernet header, in bytes.
pub(crate) const ETHERNET: usize = 14;

/// The longest packet, header included, in bytes: an IP packet of 65535 bytes, its Ethernet
/// header with a VLAN tag, and some.
pub const MAX_PACKET: usize = HEADER_LENGTH + ETHERNET + 4 + 65535;

const NEEDS_CHECKSUM: u8 = 1;

/// How a packet is to be segmented (section 5.1.6).
pub(crate) mod gso {
    pub(crate) const NONE: u8 = 0;
    pub(crate) const TCP4: u8 = 1;
    pub(crate) const TCP6: u8 = 4;
    /// A bit beside the others: the segments carry ECN's CWR in the first only.
    pub(crate) const ECN: u8 = 0x80;
}

/// What the header says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offload {
    /// Where in the frame a checksum is missing: where what it covers begins, and where it goes,
    /// counted from there.
    pub checksum: Option<(u16, u16)>,
    /// What kind of segments the frame is to be cut into; 0 is none.
    pub kind: u8,
    /// How much data goes into each segment, in bytes.
    pub segment: u16,
    /// Length of the headers in front of the data, in bytes; a hint only.
    pub headers: u16,
}

impl Offload {
    /// Reads the header at the front of a packet, or none if the packet is too short for one.
    #[must_use]
    pub fn read(packet: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_LENGTH] = packet.first_chunk()?;
        let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        Some(Offload {
            checksum: (header[0] & NEEDS_CHECKSUM != 0).then(|| (half(6), half(8))),
            kind: header[1],
            segment: half(4),
            headers: half(2),
        })
    }

    /// The header's bytes, for a packet in one buffer.
    #[must_use]
    pub fn bytes(&self) -> [u8; HEADER_LENGTH] {
        let mut header = [0; HEADER_LENGTH];
        let (start, offset) = self.checksum.unwrap_or_default();
        header[0] = u8::from(self.checksum.is_some()) * NEEDS_CHECKSUM;
        header[1] = self.kind;
        header[2..4].copy_from_slice(&self.headers.to_le_bytes());
        header[4..6].copy_from_slice(&self.segment.to_le_bytes());
        header[6..8].copy_from_slice(&start.to_le_bytes());
        header[8..10].copy_from_slice(&offset.to_le_bytes());
        header[10..12].copy_from_slice(&1u16.to_le_bytes());
        header
    }
}
