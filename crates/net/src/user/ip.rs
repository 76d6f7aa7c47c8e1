//! IPv4 packets to the guest that hold anything but TCP.

use std::net::{Ipv4Addr, SocketAddrV4};

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket,
    UdpRepr,
};

use super::addresses::GATEWAY;
use crate::output::Output;

/// The longest IP packet on the cable, in bytes.
pub(super) const MTU: usize = 1500;

const HEADER: usize = 20;
const UDP_HEADER: usize = 8;
/// How much of a packet an error message quotes: its header without options, and eight bytes.
pub(super) const QUOTE: usize = HEADER + 8;

/// Counts the packets that are sent in fragments.
#[derive(Default)]
pub(super) struct Identification(u16);

/// Sends the guest a datagram, in fragments if it is long.
pub(super) fn send_udp(
    output: &mut Output,
    identification: &mut Identification,
    from: SocketAddrV4,
    to: SocketAddrV4,
    data: &[u8],
) {
    let repr = UdpRepr {
        src_port: from.port(),
        dst_port: to.port(),
    };
    let mut payload = vec![0; UDP_HEADER + data.len()];
    repr.emit(
        &mut UdpPacket::new_unchecked(&mut payload),
        &(*from.ip()).into(),
        &(*to.ip()).into(),
        data.len(),
        |room| room.copy_from_slice(data),
        &ChecksumCapabilities::default(),
    );
    let addresses = (*from.ip(), *to.ip());
    send(output, identification, addresses, IpProtocol::Udp, &payload);
}

/// Sends the guest a message of the control protocol.
pub(super) fn send_icmp(
    output: &mut Output,
    identification: &mut Identification,
    addresses: (Ipv4Addr, Ipv4Addr),
    message: &Icmpv4Repr<'_>,
) {
    let mut payload = vec![0; message.buffer_len()];
    message.emit(
        &mut Icmpv4Packet::new_unchecked(&mut payload),
        &ChecksumCapabilities::default(),
    );
    send(
        output,
        identification,
        addresses,
        IpProtocol::Icmp,
        &payload,
    );
}

/// Tells the guest that what it sent cannot be delivered. `packet` is that, at least its first
/// [`QUOTE`] bytes.
pub(super) fn send_unreachable(
    output: &mut Output,
    identification: &mut Identification,
    packet: &[u8],
    reason: Icmpv4DstUnreachable,
) {
    // The quoted header may say a length that is not there any more: it is only quoted.
    let quoted = Ipv4Packet::new_unchecked(packet);
    if packet.len() < QUOTE || quoted.header_len() as usize != HEADER {
        return;
    }
    let header = Ipv4Repr {
        src_addr: quoted.src_addr(),
        dst_addr: quoted.dst_addr(),
        next_header: quoted.next_header(),
        payload_len: usize::from(quoted.total_len()).saturating_sub(HEADER),
        hop_limit: quoted.hop_limit(),
    };
    let message = Icmpv4Repr::DstUnreachable {
        reason,
        header,
        data: &packet[HEADER..QUOTE],
    };
    let addresses = (GATEWAY, header.src_addr);
    send_icmp(output, identification, addresses, &message);
}

fn send(
    output: &mut Output,
    identification: &mut Identification,
    (from, to): (Ipv4Addr, Ipv4Addr),
    protocol: IpProtocol,
    payload: &[u8],
) {
    // Fragments are multiples of eight bytes, but for the last.
    let piece = if payload.len() + HEADER <= MTU {
        payload.len()
    } else {
        (MTU - HEADER) / 8 * 8
    };
    identification.0 = identification.0.wrapping_add(1);
    let mut offset = 0;
    while offset < payload.len() {
        let data = &payload[offset..payload.len().min(offset + piece)];
        let fill = |bytes: &mut [u8]| {
            let repr = Ipv4Repr {
                src_addr: from,
                dst_addr: to,
                next_header: protocol,
                payload_len: data.len(),
                hop_limit: 64,
            };
            let mut packet = Ipv4Packet::new_unchecked(bytes);
            repr.emit(&mut packet, &ChecksumCapabilities::ignored());
            packet.payload_mut().copy_from_slice(data);
            if piece < payload.len() {
                packet.set_ident(identification.0);
                packet.set_dont_frag(false);
                packet.set_more_frags(offset + data.len() < payload.len());
                packet.set_frag_offset(offset as u16);
            }
            packet.fill_checksum();
        };
        output.ipv4(HEADER + data.len(), fill, |_| {});
        offset += data.len();
    }
}
