//! The user-mode network takes whatever a guest sends, and gives nothing but frames that a guest
//! can take; nor does any packet break the cutting of large segments.
//!
//! The input is a row of packets, each after its kind and its length: as it is, or behind headers that
//! lead it somewhere. No connection leaves the host.

#![no_main]

use std::cell::RefCell;
use std::net::Ipv4Addr;

use clade_net::user::addresses::{DNS, GATEWAY, GATEWAY_MAC, GUEST};
use clade_net::{Accepts, MAX_PACKET, MacAddress, UserConfig, UserNetwork, lower};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static NETWORK: RefCell<UserNetwork> = RefCell::new(network());
}

fn network() -> UserNetwork {
    let config = UserConfig {
        mac: MacAddress([2, 0, 0, 0, 0, 1]),
        guest: GUEST,
        host_name: "fuzz".to_owned(),
        forwards: Vec::new(),
        // The network's own services only.
        allow: vec!["10.0.2.3".parse().expect("a host")],
        deny: vec!["0.0.0.0/0".parse().expect("a network")],
    };
    UserNetwork::open(config).expect("a network")
}

fuzz_target!(|bytes: &[u8]| {
    NETWORK.with_borrow_mut(|network| {
        network.reset();
        let mut rest = bytes;
        let mut packet = Vec::new();
        while let Some(([kind, length @ ..], after)) = rest.split_first_chunk::<3>() {
            let length = usize::from(u16::from_le_bytes(*length)) % 2048;
            let (content, after) = after.split_at(length.min(after.len()));
            rest = after;
            let mut sent = packet_of(*kind, content);
            network.send(&mut sent.clone());
            lower(&mut sent, Accepts::default(), |packet| {
                assert!(packet.len() <= MAX_PACKET);
            });
            network.poll();
            while network.receive(&mut packet) {
                assert!(packet.len() <= MAX_PACKET);
            }
        }
    });
});

const VIRTIO_HEADER: usize = 12;
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// A packet of some kind that holds `content`.
fn packet_of(kind: u8, content: &[u8]) -> Vec<u8> {
    match kind % 8 {
        0 => content.to_vec(),
        1 => frame(ARP, content),
        2 => frame(IPV4, content),
        3 => frame(IPV4, &ip(TCP, GATEWAY, content)),
        4 => frame(IPV4, &ip(ICMP, GATEWAY, content)),
        5 => frame(IPV4, &ip(UDP, DNS, &datagram([12345, 53], content))),
        6 => frame(
            IPV4,
            &ip(UDP, Ipv4Addr::BROADCAST, &datagram([68, 67], content)),
        ),
        _ => frame(IPV4, &ip(UDP, GATEWAY, content)),
    }
}

fn frame(kind: u16, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; VIRTIO_HEADER];
    frame.extend(GATEWAY_MAC.0);
    frame.extend([2, 0, 0, 0, 0, 1]);
    frame.extend(kind.to_be_bytes());
    frame.extend(content);
    frame
}

fn ip(protocol: u8, to: Ipv4Addr, content: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + content.len() as u16).to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
    packet.extend(GUEST.octets());
    packet.extend(to.octets());
    packet.extend(content);
    packet
}

fn datagram(ports: [u16; 2], content: &[u8]) -> Vec<u8> {
    let mut datagram: Vec<u8> = ports.iter().flat_map(|port| port.to_be_bytes()).collect();
    datagram.extend((8 + content.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(content);
    datagram
}
