//! Drivers that give a disk anything at all.

use proptest::prelude::*;

use super::block_board::{DATA, Medium, SECTORS, disk_board, header_of, status_of};
use super::driver::{Descriptor, Driver, EVENT_INDEX, INDIRECT, NEEDS_RESET, VERSION_1};
use super::{RAM, RAM_SIZE, poke};

fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0u16..4).prop_map(header_of),
        2 => (0u16..4).prop_map(status_of),
        4 => (0u64..0x4000).prop_map(|offset| DATA + offset),
        1 => (0u64..64).prop_map(|below| RAM + RAM_SIZE - below),
        1 => any::<u64>(),
    ]
}

fn length() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => Just(16u32),
        4 => (0u32..10).prop_map(|sectors| sectors * 512),
        2 => Just(1u32),
        2 => 0u32..2000,
        1 => any::<u32>(),
    ]
}

fn descriptor() -> impl Strategy<Value = Descriptor> {
    (address(), length(), 0u16..8, 0u16..18)
}

/// A header: kind and sector; or the words of a range.
fn header() -> impl Strategy<Value = (u32, u64)> {
    let kind = prop_oneof![8 => 0u32..16, 1 => any::<u32>()];
    let sector = prop_oneof![4 => 0u64..SECTORS + 2, 1 => any::<u64>()];
    (kind, sector)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Nothing panics or hangs, the disk is asked for nothing that it does not have, and what is
    /// not given back has broken the device.
    #[test]
    fn whatever_a_driver_asks_is_survived(
        rounds in prop::collection::vec(
            (prop::collection::vec(descriptor(), 16), header(), 0u16..18, any::<bool>()),
            1..20,
        ),
        events in any::<bool>(),
    ) {
        let board = disk_board(false);
        let driver = Driver::attach(&board.bus);
        let features = VERSION_1 | INDIRECT | if events { EVENT_INDEX } else { 0 };
        let [mut ring, _] = driver.start(&board.ram, features);
        for (chain, (kind, sector), head, hold) in rounds {
            board.prepare(0, kind, sector);
            // A range, where a chain may find it.
            poke(&board.ram, DATA, &sector.to_le_bytes());
            poke(&board.ram, DATA + 8, &u64::from(kind).to_le_bytes());
            for (index, &descriptor) in (0..).zip(&chain) {
                ring.describe(index, descriptor);
            }
            board.medium.lock().unwrap().held = hold;
            ring.offer(head);
            driver.notify(0);
            while board.device.process() {}
            prop_assert!(board.medium.lock().unwrap().waiting() <= 256);
        }
        board.medium.lock().unwrap().held = false;
        while board.device.process() {}
        if driver.status() & NEEDS_RESET == 0 {
            while ring.take().is_some() {}
            prop_assert_eq!(ring.outstanding(), 0);
        }
        let Medium { bytes, .. } = &*board.medium.lock().unwrap();
        prop_assert_eq!(bytes.len() as u64, SECTORS * 512);
    }
}
