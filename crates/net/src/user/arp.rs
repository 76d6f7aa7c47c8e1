//! Who has an address: the network answers for its own.

use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress};

use super::addresses::{GATEWAY_MAC, is_local, is_own};
use crate::MacAddress;
use crate::output::{Output, ethertype};

pub(super) fn input(payload: &[u8], output: &mut Output) {
    let Some(ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    }) = ArpPacket::new_checked(payload)
        .ok()
        .and_then(|packet| ArpRepr::parse(&packet).ok())
    else {
        return;
    };
    let asker = MacAddress(source_hardware_addr.0);
    if is_local(source_protocol_addr) && !is_own(source_protocol_addr) && !asker.is_group() {
        output.learn(source_protocol_addr, asker);
    }
    if operation != ArpOperation::Request || !is_own(target_protocol_addr) {
        return;
    }
    let reply = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: EthernetAddress(GATEWAY_MAC.0),
        source_protocol_addr: target_protocol_addr,
        target_hardware_addr: source_hardware_addr,
        target_protocol_addr: source_protocol_addr,
    };
    output.frame(asker, ethertype::ARP, reply.buffer_len(), |bytes| {
        reply.emit(&mut ArpPacket::new_unchecked(bytes));
    });
}
