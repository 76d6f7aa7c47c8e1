//! Does what a packet's header leaves to do, for a guest that cannot.

use crate::packet::{ETHERNET, HEADER_LENGTH, Offload, gso};

/// Which work a guest takes over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accepts {
    /// Checksums.
    pub checksum: bool,
    /// TCP over IPv4 in large segments.
    pub tcp4: bool,
    /// TCP over IPv6 in large segments.
    pub tcp6: bool,
}

impl Accepts {
    /// Whether [`lower`] would change a packet.
    #[must_use]
    pub fn needs_lowering(self, packet: &[u8]) -> bool {
        let offload = Offload::read(packet).unwrap_or_default();
        let whole = match offload.kind & !gso::ECN {
            gso::NONE => true,
            gso::TCP4 => self.tcp4,
            gso::TCP6 => self.tcp6,
            _ => false,
        };
        !whole || offload.checksum.is_some() && !self.checksum
    }
}

/// Hands packets that a guest can take to `each`: `packet` itself, or what it comes to with
/// checksums filled in and cut into segments. A packet that makes no sense comes to none.
pub fn lower(packet: &mut [u8], accepts: Accepts, mut each: impl FnMut(&[u8])) {
    let Some(offload) = Offload::read(packet) else {
        return;
    };
    let whole = match offload.kind & !gso::ECN {
        gso::NONE => true,
        gso::TCP4 => accepts.tcp4,
        gso::TCP6 => accepts.tcp6,
        _ => return,
    };
    if !whole {
        let _ = cut(packet, offload, &mut each);
    } else if let Some((start, offset)) = offload.checksum
        && !accepts.checksum
    {
        if fill_checksum(&mut packet[HEADER_LENGTH..], start, offset).is_some() {
            packet[..HEADER_LENGTH].copy_from_slice(&Offload::default().bytes());
            each(packet);
        }
    } else {
        each(packet);
    }
}

/// Completes a checksum whose place holds the sum over the pseudo header.
fn fill_checksum(frame: &mut [u8], start: u16, offset: u16) -> Option<()> {
    let covered = frame.get_mut(usize::from(start)..)?;
    let at = usize::from(offset);
    let sum = !fold(sum(covered));
    // For UDP 0 means no checksum; for TCP both mean the same.
    let sum = if sum == 0 { 0xffff } else { sum };
    covered
        .get_mut(at..at + 2)?
        .copy_from_slice(&sum.to_be_bytes());
    Some(())
}

pub(crate) fn sum(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(2);
    let last = words
        .remainder()
        .first()
        .map_or(0, |&last| u64::from(last) << 8);
    last + words
        .map(|word| u64::from(u16::from_be_bytes([word[0], word[1]])))
        .sum::<u64>()
}

pub(crate) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Where the parts of a frame are that holds a TCP segment.
struct Layout {
    version: u8,
    tcp: usize,
    data: usize,
}

impl Layout {
    fn of(frame: &[u8]) -> Option<Self> {
        let first = *frame.get(ETHERNET)?;
        let version = first >> 4;
        let tcp = ETHERNET
            + match version {
                4 => usize::from(first & 0xf) * 4,
                6 => 40,
                _ => return None,
            };
        let header = usize::from(frame.get(tcp + 12)? >> 4) * 4;
        let data = tcp + header;
        let minimum = ETHERNET + if version == 4 { 20 } else { 40 };
        (tcp >= minimum && header >= 20 && data <= frame.len()).then_some(Layout {
            version,
            tcp,
            data,
        })
    }
}

const FIN_PUSH: u8 = 0x09;
const CWR: u8 = 0x80;

/// Cuts a large TCP segment into ordinary ones, with checksums.
fn cut(packet: &[u8], offload: Offload, each: &mut impl FnMut(&[u8])) -> Option<()> {
    let frame = packet.get(HEADER_LENGTH..)?;
    let layout = Layout::of(frame)?;
    let (headers, data) = frame.split_at(layout.data);
    let size = usize::from(offload.segment);
    if size == 0 || frame.len() - ETHERNET > 0xffff {
        return None;
    }
    let pieces = data.len().div_ceil(size).max(1);
    let sequence = u32::from_be_bytes(*headers[layout.tcp + 4..].first_chunk()?);
    let identification = u16::from_be_bytes([headers[ETHERNET + 4], headers[ETHERNET + 5]]);
    let mut out = Vec::with_capacity(HEADER_LENGTH + headers.len() + size);
    for (index, piece) in (0..pieces).zip(data.chunks(size).chain([&[][..]])) {
        out.clear();
        out.extend(Offload::default().bytes());
        out.extend(headers);
        out.extend(piece);
        let frame = &mut out[HEADER_LENGTH..];
        let length = frame.len() - ETHERNET;
        let tcp = layout.tcp;
        let at = sequence.wrapping_add((index * size) as u32);
        frame[tcp + 4..tcp + 8].copy_from_slice(&at.to_be_bytes());
        if index + 1 < pieces {
            frame[tcp + 13] &= !FIN_PUSH;
        }
        if index > 0 {
            frame[tcp + 13] &= !CWR;
        }
        let ip = &mut frame[ETHERNET..];
        if layout.version == 4 {
            ip[2..4].copy_from_slice(&(length as u16).to_be_bytes());
            let id = identification.wrapping_add(index as u16);
            ip[4..6].copy_from_slice(&id.to_be_bytes());
            ip[10..12].fill(0);
            let checksum = !fold(sum(&ip[..tcp - ETHERNET]));
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
        } else {
            ip[4..6].copy_from_slice(&((length - 40) as u16).to_be_bytes());
        }
        write_pseudo_sum(frame, layout.version, tcp);
        fill_checksum(frame, tcp as u16, 16)?;
        each(&out);
    }
    Some(())
}

/// Puts the sum over the pseudo header into a TCP segment's checksum field.
fn write_pseudo_sum(frame: &mut [u8], version: u8, tcp: usize) {
    let length = (frame.len() - tcp) as u64;
    let addresses = if version == 4 {
        &frame[ETHERNET + 12..ETHERNET + 20]
    } else {
        &frame[ETHERNET + 8..ETHERNET + 40]
    };
    const TCP: u64 = 6;
    let pseudo = fold(sum(addresses) + length + TCP);
    frame[tcp + 16..tcp + 18].copy_from_slice(&pseudo.to_be_bytes());
}

/// Lets the guest do the checksum, and the segmentation, of a TCP segment over IPv4 in `packet`,
/// whose IP header is complete; `segment` is how much data the guest takes at a time.
pub(crate) fn offload_tcp4(packet: &mut [u8], segment: u16) {
    let frame = &mut packet[HEADER_LENGTH..];
    let Some(layout) = Layout::of(frame) else {
        return;
    };
    write_pseudo_sum(frame, layout.version, layout.tcp);
    let large = frame.len() - layout.data > usize::from(segment);
    let offload = Offload {
        checksum: Some((layout.tcp as u16, 16)),
        kind: if large { gso::TCP4 } else { gso::NONE },
        segment: if large { segment } else { 0 },
        headers: layout.data as u16,
    };
    packet[..HEADER_LENGTH].copy_from_slice(&offload.bytes());
}
