use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::{Switch, SwitchError};
use crate::user::addresses::{GATEWAY, GATEWAY_MAC};
use crate::{HEADER_LENGTH, MacAddress, UserConfig};

fn config(name: &str, mac: u8) -> UserConfig {
    UserConfig {
        mac: MacAddress([2, 0, 0, 0, 0, mac]),
        guest: Ipv4Addr::UNSPECIFIED,
        host_name: name.to_owned(),
        forwards: Vec::new(),
        allow: Vec::new(),
        deny: Vec::new(),
    }
}

fn join(folder: &std::path::Path, name: &str, mac: u8) -> Switch {
    Switch::join(folder, config(name, mac)).expect("joined")
}

fn frame(to: [u8; 6], from: u8, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; HEADER_LENGTH];
    packet.extend(to);
    packet.extend([2, 0, 0, 0, 0, from]);
    packet.extend(ethertype.to_be_bytes());
    packet.extend(payload);
    packet
}

/// What comes within a short time.
fn received(switch: &mut Switch) -> Vec<Vec<u8>> {
    let (mut packets, mut packet) = (Vec::new(), Vec::new());
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(20) {
        switch.poll();
        while switch.receive(&mut packet) {
            packets.push(packet.clone());
        }
    }
    packets
}

const OTHER: u16 = 0x88b5;

#[test]
fn members_meet_in_any_order_and_frames_find_their_way() {
    let home = tempfile::tempdir().expect("folder");
    let folder = home.path().join("blue");
    let mut switches: Vec<_> = (0u8..3)
        .map(|n| join(&folder, &format!("m{n}"), n))
        .collect();
    let mut stranger = join(&home.path().join("red"), "x", 9);
    switches
        .iter_mut()
        .for_each(|switch| assert!(received(switch).is_empty()));
    let mut hello = frame([0xff; 6], 0, OTHER, b"hello");
    switches[0].send(&mut hello);
    assert_eq!(received(&mut switches[1]), [hello.clone()]);
    assert_eq!(received(&mut switches[2]), [hello]);
    // The third answers: by now the second knows nothing of either, the first is known.
    let mut answer = frame([2, 0, 0, 0, 0, 0], 2, OTHER, b"answer");
    switches[2].send(&mut answer);
    assert!(received(&mut switches[1]).is_empty());
    assert_eq!(received(&mut switches[0]), [answer]);
    assert!(received(&mut stranger).is_empty());
}

#[test]
fn addresses_are_unique_and_those_of_the_dead_are_free_again() {
    let home = tempfile::tempdir().expect("folder");
    let mut first = join(home.path(), "a", 7);
    let second = join(home.path(), "b", 7);
    assert_ne!(first.address(), second.address());
    let address = second.address();
    received(&mut first);
    assert_eq!(first.peers.len(), 1);
    drop(second);
    received(&mut first);
    assert!(first.peers.is_empty());
    let third = join(home.path(), "c", 7);
    assert_eq!(third.address(), address);
}

#[test]
fn what_concerns_the_gateway_stays_at_home() {
    let home = tempfile::tempdir().expect("folder");
    let mut first = join(home.path(), "a", 1);
    let mut second = join(home.path(), "b", 2);
    let arp = |operation: u8, sender: Ipv4Addr, target: Ipv4Addr| {
        let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, operation, 2, 0, 0, 0, 0, 1];
        bytes.extend(sender.octets());
        bytes.extend([0; 6]);
        bytes.extend(target.octets());
        bytes
    };
    received(&mut second);
    let question = arp(1, first.address(), GATEWAY);
    first.send(&mut frame([0xff; 6], 1, 0x806, &question));
    let answers = received(&mut first);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0][HEADER_LENGTH + 6..][..6], GATEWAY_MAC.0);
    assert!(received(&mut second).is_empty());
    // Nobody else can say that they are the gateway.
    let lie = arp(2, GATEWAY, second.address());
    first.send(&mut frame([0xff; 6], 1, 0x806, &lie));
    assert!(received(&mut second).is_empty());
}

#[test]
fn a_folder_that_cannot_be_is_an_error() {
    let home = tempfile::tempdir().expect("folder");
    let file = home.path().join("file");
    std::fs::write(&file, "").expect("file");
    let error = Switch::join(&file.join("net"), config("a", 1)).err();
    assert!(matches!(error, Some(SwitchError::Folder { .. })));
}
