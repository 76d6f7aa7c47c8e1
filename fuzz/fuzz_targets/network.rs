//! The user-mode network takes whatever a guest sends, and gives nothing but frames that a guest
//! can take; nor does any packet break the cutting of large segments.
//!
//! The input is a row of packets, each after its length. No connection leaves the host.

#![no_main]

use std::cell::RefCell;

use clade_net::user::addresses::GUEST;
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
        while let Some((length, after)) = rest.split_first_chunk() {
            let length = usize::from(u16::from_le_bytes(*length)) % 2048;
            let (sent, after) = after.split_at(length.min(after.len()));
            rest = after;
            network.send(&mut sent.to_vec());
            lower(&mut sent.to_vec(), Accepts::default(), |packet| {
                assert!(packet.len() <= MAX_PACKET);
            });
            network.poll();
            while network.receive(&mut packet) {
                assert!(packet.len() <= MAX_PACKET);
            }
        }
    });
});
