//! Drivers that break the rules.

use clade_engine::IoBus;
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::driver::{
    BAR, BUFFERS, DRIVER_OK, Descriptor, Driver, ECAM, EVENT_INDEX, INDIRECT, INDIRECT_TABLE,
    NEEDS_RESET, NEXT, VERSION_1, WRITE, config, write, write_descriptor,
};
use super::{RAM, RAM_SIZE, SLOT, board};
use crate::ConsolePort;

const TABLE: u64 = BUFFERS + 0x2000;

/// Offers one chain for the device to read and the same for it to write; returns what it printed
/// and whether it gave up.
fn offer(chain: &[Descriptor], table: &[Descriptor]) -> (usize, bool) {
    let board = board();
    let driver = Driver::attach(&board.bus);
    let [mut receive, mut transmit] = driver.start(&board.ram, VERSION_1 | INDIRECT);
    for (index, &descriptor) in (0..).zip(chain) {
        transmit.describe(index, descriptor);
        receive.describe(index, descriptor);
    }
    for (index, &descriptor) in (0..).zip(table) {
        write_descriptor(&board.ram, TABLE + 16 * index, descriptor);
    }
    transmit.offer(0);
    driver.notify(1);
    let printed = board.screen.take().len();
    receive.offer(0);
    driver.notify(0);
    board.console.input(b"input");
    let broken = driver.status() & NEEDS_RESET != 0;
    if broken {
        // It says so, and takes nothing any more until it is reset.
        assert!(board.interrupted());
        assert_ne!(driver.isr() & 2, 0);
        board.console.resize(1, 2);
        assert!(!board.interrupted());
        transmit.describe(0, (BUFFERS, 1, 0, 0));
        transmit.offer(0);
        driver.notify(1);
        assert_eq!(board.screen.take(), b"");
        driver.set_status(0);
        assert_eq!(driver.status(), 0);
    }
    (printed, broken)
}

#[test]
fn a_loop_ends() {
    // At most as many pieces as the queue has descriptors: 16.
    let (printed, _) = offer(&[(BUFFERS, 3, NEXT, 0)], &[]);
    assert!(printed <= 48);
    let (printed, _) = offer(
        &[(TABLE, 32, INDIRECT_TABLE, 0)],
        &[(BUFFERS, 1, NEXT, 1), (BUFFERS, 1, NEXT, 0)],
    );
    assert!(printed <= 16);
}

#[test]
fn memory_that_is_not_there_breaks_the_device() {
    for address in [0, RAM - 1, RAM + RAM_SIZE - 2, u64::MAX - 1, u64::MAX] {
        assert_eq!(offer(&[(address, 3, 0, 0)], &[]), (0, true));
    }
    assert_eq!(offer(&[(BUFFERS, u32::MAX, 0, 0)], &[]), (0, true));
    // The second piece is bad: nothing of the first is printed.
    let chain = [(BUFFERS, 3, NEXT, 1), (0x1000, 3, 0, 0)];
    assert_eq!(offer(&chain, &[]), (0, true));
}

#[test]
fn strange_chains_are_survived() {
    // Nothing in it.
    assert_eq!(offer(&[(BUFFERS, 0, 0, 0)], &[]), (0, false));
    assert_eq!(offer(&[(u64::MAX, 0, 0, 0)], &[]), (0, false));
    // For the device to write where it should read.
    assert_eq!(offer(&[(BUFFERS, 9, WRITE, 0)], &[]), (0, false));
    // A next that does not exist ends the chain.
    assert_eq!(offer(&[(BUFFERS, 9, NEXT, 700)], &[]).0, 9);
    // A table within a table, of half a descriptor, of none, elsewhere.
    let nested = [(TABLE, 16, INDIRECT_TABLE, 0)];
    assert_eq!(offer(&nested, &nested).0, 0);
    assert_eq!(offer(&[(TABLE, 24, INDIRECT_TABLE, 0)], &[]).0, 0);
    assert_eq!(offer(&[(TABLE, 0, INDIRECT_TABLE, 0)], &[]).0, 0);
    assert_eq!(offer(&[(8, 16, INDIRECT_TABLE, 0)], &[]).0, 0);
}

#[test]
fn a_chain_longer_than_the_queue_breaks_the_device() {
    let long: Vec<Descriptor> = (1..=17).map(|next| (BUFFERS, 1, NEXT, next)).collect();
    let length = 16 * long.len() as u32 + 16;
    let table = [(TABLE, length, INDIRECT_TABLE, 0)];
    assert_eq!(offer(&table, &long), (0, true));
    // Nor may one print without end.
    let huge = [
        (RAM, RAM_SIZE as u32, NEXT, 1),
        (RAM, RAM_SIZE as u32, 0, 0),
    ];
    let (printed, broken) = offer(&huge, &[]);
    assert!(broken);
    assert!(printed <= RAM_SIZE as usize + 4096);
}

#[test]
fn impossible_indices_break_the_device() {
    for (head, index) in [(16, 1), (u16::MAX, 1), (0, 17), (0, 0x8000)] {
        let board = board();
        let driver = Driver::attach(&board.bus);
        let [_, mut ring] = driver.start(&board.ram, VERSION_1);
        ring.describe(0, (BUFFERS, 1, 0, 0));
        ring.offer(head);
        ring.store(ring.available + 2, index);
        driver.notify(1);
        assert_ne!(driver.status() & NEEDS_RESET, 0, "{head} {index}");
        assert_eq!(board.screen.take(), b"");
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Anywhere in the structures, or in configuration space.
    Write(u64, usize, u64),
    Read(u64, usize),
    /// Anything into the rings and tables.
    Memory(u64, u64),
    Notify(u16),
    Input,
    Resize(u16),
    Restart(bool),
}

fn register() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0u64..0x40).prop_map(|offset| BAR + offset),
        1 => (0u64..0x4000).prop_map(|offset| BAR + offset),
        2 => (0u64..0x100).prop_map(|offset| config(SLOT, offset)),
        1 => (0u64..0x20_0000).prop_map(|offset| ECAM + offset),
    ]
}

/// Numbers that matter: small ones, single bits, addresses of the rings and their surroundings.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0u64..20,
        (0u32..64).prop_map(|bit| 1 << bit),
        (0u64..0x2_0000).prop_map(|offset| RAM + offset),
        Just(RAM + RAM_SIZE - 8),
        (0u16..8, 0u16..32).prop_map(|(flags, next)| {
            // The second half of a descriptor.
            u64::from(next) << 48 | u64::from(flags) << 32 | 16
        }),
        any::<u64>(),
    ]
}

/// The first entries of the tables and rings that [`Driver::start`] sets up.
fn ring_word() -> impl Strategy<Value = u64> {
    let table = (0u64..2, 0u64..3, 0u64..12);
    table.prop_map(|(queue, part, word)| RAM + 0x1_0000 * queue + 0x4000 * part + 8 * word)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (register(), 1usize..9, number()).prop_map(|(a, l, v)| Step::Write(a, l, v)),
        1 => (register(), 1usize..9).prop_map(|(address, length)| Step::Read(address, length)),
        6 => (ring_word(), number()).prop_map(|(address, value)| Step::Memory(address, value)),
        4 => (0u16..3).prop_map(Step::Notify),
        2 => Just(Step::Input),
        1 => any::<u16>().prop_map(Step::Resize),
        2 => any::<bool>().prop_map(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Nothing panics or hangs, and at any time the state can be saved and restored.
    #[test]
    fn whatever_a_driver_does_is_survived(steps in prop::collection::vec(step(), 1..80)) {
        let board = board();
        let driver = Driver::attach(&board.bus);
        for step in steps {
            match step {
                Step::Write(address, length, value) => {
                    board.bus.write(address, &value.to_le_bytes()[..length]).unwrap();
                }
                Step::Read(address, length) => {
                    board.bus.read(address, &mut [0; 8][..length]).unwrap();
                }
                Step::Memory(address, value) => {
                    board.ram.write_obj(value, GuestAddress(address)).unwrap();
                }
                Step::Notify(queue) => driver.notify(queue),
                Step::Input => {
                    prop_assert!(board.console.input(b"some input") <= 10);
                }
                Step::Resize(columns) => board.console.resize(columns, 1),
                Step::Restart(events) => {
                    write(&board.bus, config(SLOT, 0x20), 4, BAR);
                    write(&board.bus, config(SLOT, 0x24), 4, BAR >> 32);
                    write(&board.bus, config(SLOT, 0x04), 2, 0x6);
                    board.ram.write_slice(&[0; 0x2_0000], GuestAddress(RAM)).unwrap();
                    let events = if events { EVENT_INDEX } else { 0 };
                    driver.start(&board.ram, VERSION_1 | INDIRECT | events);
                    prop_assert_eq!(driver.status() & DRIVER_OK, DRIVER_OK);
                }
            }
            board.screen.take();
        }
        let (pci, function) = (board.pci.save(), board.function.save());
        let other = super::board();
        other.pci.restore(&pci).unwrap();
        other.function.restore(&function).unwrap();
        prop_assert_eq!(other.pci.save(), pci);
        prop_assert_eq!(other.function.save(), function);
    }
}
