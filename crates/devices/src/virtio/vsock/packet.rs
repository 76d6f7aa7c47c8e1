//! Packets on the virtqueues (section 5.10.6).

/// Bytes of `struct virtio_vsock_hdr`.
pub(super) const HEADER: usize = 44;

/// Most bytes of payload that one packet carries, either way.
pub(super) const MAX_PAYLOAD: usize = 64 << 10;

/// The host's address.
pub(super) const HOST_CID: u64 = 2;

/// `VIRTIO_VSOCK_TYPE_STREAM`.
pub(super) const STREAM: u16 = 1;

/// What a packet is for (`enum virtio_vsock_op`).
pub(super) mod op {
    pub(crate) const REQUEST: u16 = 1;
    pub(crate) const RESPONSE: u16 = 2;
    pub(crate) const RESET: u16 = 3;
    pub(crate) const SHUTDOWN: u16 = 4;
    pub(crate) const DATA: u16 = 5;
    pub(crate) const CREDIT_UPDATE: u16 = 6;
    pub(crate) const CREDIT_REQUEST: u16 = 7;
}

/// Flags of [`op::SHUTDOWN`] (section 5.10.6.6.1).
pub(super) mod shutdown {
    /// Its sender receives no more.
    pub(crate) const RECEIVE: u32 = 1 << 0;
    /// Its sender sends no more.
    pub(crate) const SEND: u32 = 1 << 1;
}

/// The two ports that a connection is between: what tells it from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ports {
    pub(super) host: u32,
    pub(super) guest: u32,
}

/// `struct virtio_vsock_hdr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) source_cid: u64,
    pub(super) target_cid: u64,
    pub(super) source_port: u32,
    pub(super) target_port: u32,
    pub(super) length: u32,
    pub(super) kind: u16,
    pub(super) op: u16,
    pub(super) flags: u32,
    pub(super) buffer_size: u32,
    pub(super) forwarded: u32,
}

impl Header {
    pub(super) fn from_bytes(bytes: &[u8; HEADER]) -> Self {
        Header {
            source_cid: u64::from_le_bytes(part(bytes, 0)),
            target_cid: u64::from_le_bytes(part(bytes, 8)),
            source_port: u32::from_le_bytes(part(bytes, 16)),
            target_port: u32::from_le_bytes(part(bytes, 20)),
            length: u32::from_le_bytes(part(bytes, 24)),
            kind: u16::from_le_bytes(part(bytes, 28)),
            op: u16::from_le_bytes(part(bytes, 30)),
            flags: u32::from_le_bytes(part(bytes, 32)),
            buffer_size: u32::from_le_bytes(part(bytes, 36)),
            forwarded: u32::from_le_bytes(part(bytes, 40)),
        }
    }

    pub(super) fn to_bytes(self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let mut set = |offset: usize, value: &[u8]| {
            bytes[offset..offset + value.len()].copy_from_slice(value);
        };
        set(0, &self.source_cid.to_le_bytes());
        set(8, &self.target_cid.to_le_bytes());
        set(16, &self.source_port.to_le_bytes());
        set(20, &self.target_port.to_le_bytes());
        set(24, &self.length.to_le_bytes());
        set(28, &self.kind.to_le_bytes());
        set(30, &self.op.to_le_bytes());
        set(32, &self.flags.to_le_bytes());
        set(36, &self.buffer_size.to_le_bytes());
        set(40, &self.forwarded.to_le_bytes());
        bytes
    }
}

fn part<const N: usize>(bytes: &[u8; HEADER], offset: usize) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&bytes[offset..offset + N]);
    value
}
