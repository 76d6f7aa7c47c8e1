//! Frames that no sane guest sends.

use proptest::prelude::*;

use super::guest::Guest;
use crate::user::addresses::{DNS, GATEWAY, GUEST};
use crate::{Accepts, HEADER_LENGTH, lower};

/// An IP packet whose beginning is right, so that what follows is looked at.
fn packet() -> impl Strategy<Value = Vec<u8>> {
    let to = prop_oneof![
        Just(GATEWAY.octets()),
        Just(DNS.octets()),
        Just([255; 4]),
        Just([10, 0, 2, 255]),
        Just([224, 0, 0, 1]),
        Just([127, 0, 0, 1]),
        Just([0; 4]),
    ];
    let from = prop_oneof![Just(GUEST.octets()), Just([0; 4]), any::<[u8; 4]>()];
    let protocol = prop_oneof![Just(1u8), Just(6), Just(17), any::<u8>()];
    let ports = prop_oneof![Just(53u16), Just(67), Just(0), Just(9)];
    let payload = proptest::collection::vec(any::<u8>(), 0..400);
    let header = prop_oneof![9 => Just(0x45u8), 1 => any::<u8>()];
    (to, from, protocol, ports, payload, header).prop_map(
        |(to, from, protocol, port, mut payload, header)| {
            if payload.len() >= 4 {
                payload[..2].copy_from_slice(&40000u16.to_be_bytes());
                payload[2..4].copy_from_slice(&port.to_be_bytes());
            }
            if payload.len() >= 6 && protocol == 17 {
                let length = payload.len() as u16;
                payload[4..6].copy_from_slice(&length.to_be_bytes());
            }
            let mut bytes = vec![0; 14];
            bytes[6] = 0x52;
            bytes[12..].copy_from_slice(&[8, 0]);
            let length = (20 + payload.len()) as u16;
            bytes.extend([header, 0]);
            bytes.extend(length.to_be_bytes());
            bytes.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
            bytes.extend(from);
            bytes.extend(to);
            bytes.extend(payload);
            bytes
        },
    )
}

fn arp() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..60).prop_map(|rest| {
        let mut bytes = vec![0xff; 12];
        bytes.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        bytes.extend(rest);
        bytes
    })
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => packet(),
        1 => arp(),
        1 => proptest::collection::vec(any::<u8>(), 0..200),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_the_guest_sends_breaks_the_network(
        frames in proptest::collection::vec(frame(), 1..40),
    ) {
        let mut guest = Guest::plain();
        for frame in frames {
            guest.send_raw(&frame);
            guest.network.poll();
            for frame in guest.receive_raw() {
                prop_assert!(frame.len() <= 1514);
            }
        }
    }

    #[test]
    fn any_header_can_be_lowered(
        header in proptest::collection::vec(any::<u8>(), 0..=HEADER_LENGTH),
        kind in prop_oneof![Just(1u8), Just(4), any::<u8>()],
        frame in frame(),
    ) {
        let mut packet = header;
        packet.extend(frame);
        if packet.len() > 1 {
            packet[1] = kind;
        }
        let mut count = 0;
        lower(&mut packet, Accepts::default(), |_| count += 1);
        prop_assert!(count <= 65535);
    }
}

#[test]
fn a_guest_that_takes_nothing_gets_no_more_than_a_bound() {
    let mut guest = Guest::plain();
    let mut frame = vec![0; 14];
    frame[6] = 0x52;
    frame[12..].copy_from_slice(&[8, 0]);
    frame.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0]);
    frame.extend(GUEST.octets());
    frame.extend(GATEWAY.octets());
    frame.extend([8, 0, 0, 0, 0, 1, 0, 1]);
    for _ in 0..100_000 {
        guest.send_raw(&frame);
    }
    let answers = guest.receive_raw().len();
    assert!((1..10_000).contains(&answers), "{answers}");
}
