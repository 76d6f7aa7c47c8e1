//! The guest's address, by DHCP (RFC 2131): there is one guest, and it always gets the same.

use std::net::{Ipv4Addr, SocketAddrV4};

use smoltcp::wire::{
    DHCP_CLIENT_PORT, DhcpFlags, DhcpMessageType, DhcpOpCode, DhcpOption, DhcpPacket, DhcpRepr,
};

use super::addresses::{DNS, DOMAIN, GATEWAY, NETWORK};

const REQUESTED_ADDRESS: u8 = 50;
const MESSAGE_TYPE: u8 = 53;
const SERVER: u8 = 54;
const CLIENT: u8 = 61;
const HOST_NAME: u8 = 12;
const DOMAIN_NAME: u8 = 15;

/// How long an address is lent, in seconds.
const LEASE: u32 = 86400;

/// What the server answers: where to, and the datagram.
pub(super) type Reply = (SocketAddrV4, Vec<u8>);

/// Answers a client's message with the address `guest`.
pub(super) fn reply(message: &[u8], guest: Ipv4Addr, host_name: &str) -> Option<Reply> {
    let packet = DhcpPacket::new_checked(message).ok()?;
    if packet.opcode() != DhcpOpCode::Request || packet.hardware_len() != 6 {
        return None;
    }
    let option = |kind| {
        let found = packet.options().find(|option| option.kind == kind);
        found.map(|option| option.data)
    };
    let address = |kind| {
        let data: Option<[u8; 4]> = option(kind)?.try_into().ok();
        data.map(Ipv4Addr::from)
    };
    let asked = match option(MESSAGE_TYPE)? {
        [kind] => DhcpMessageType::from(*kind),
        _ => return None,
    };
    // Another server was chosen; there is none, but one may be inside the guest.
    if address(SERVER).is_some_and(|server| server != GATEWAY) {
        return None;
    }
    let message_type = match asked {
        DhcpMessageType::Discover => DhcpMessageType::Offer,
        DhcpMessageType::Request => {
            let current = Some(packet.client_ip()).filter(|address| !address.is_unspecified());
            match address(REQUESTED_ADDRESS).or(current) {
                Some(wanted) if wanted == guest => DhcpMessageType::Ack,
                _ => DhcpMessageType::Nak,
            }
        }
        DhcpMessageType::Inform => DhcpMessageType::Ack,
        _ => return None,
    };
    let lends = message_type != DhcpMessageType::Nak && asked != DhcpMessageType::Inform;
    let informs = message_type != DhcpMessageType::Nak;
    let mut more = Vec::new();
    if let Some(data) = option(CLIENT) {
        // RFC 6842: whatever it is.
        more.push(DhcpOption { kind: CLIENT, data });
    }
    if informs {
        let texts = [(HOST_NAME, host_name), (DOMAIN_NAME, DOMAIN)];
        let fits = |text: &str| (1..=255).contains(&text.len());
        more.extend(
            texts
                .iter()
                .filter(|(_, text)| fits(text))
                .map(|&(kind, text)| {
                    let data = text.as_bytes();
                    DhcpOption { kind, data }
                }),
        );
    }
    let repr = DhcpRepr {
        message_type,
        transaction_id: packet.transaction_id(),
        secs: 0,
        client_hardware_address: packet.client_hardware_address(),
        client_ip: packet.client_ip(),
        your_ip: if lends { guest } else { Ipv4Addr::UNSPECIFIED },
        server_ip: GATEWAY,
        router: informs.then_some(GATEWAY),
        subnet_mask: informs.then(|| Ipv4Addr::from(u32::MAX << (32 - NETWORK.1))),
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: packet.flags().contains(DhcpFlags::BROADCAST),
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(GATEWAY),
        parameter_request_list: None,
        dns_servers: informs.then(|| [DNS].into_iter().collect()),
        max_size: None,
        lease_duration: lends.then_some(LEASE),
        renew_duration: None,
        rebind_duration: None,
        additional_options: &more,
    };
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(&mut DhcpPacket::new_unchecked(&mut bytes)).ok()?;
    let current = packet.client_ip();
    // To an address that the client does not have yet nothing can be sent: to everybody, then.
    let to = if informs && !current.is_unspecified() {
        current
    } else {
        Ipv4Addr::BROADCAST
    };
    Some((SocketAddrV4::new(to, DHCP_CLIENT_PORT), bytes))
}
