//! Interrupts by message: the table, its masks, and which vector a device sends.

use proptest::prelude::*;

use super::driver::{
    ACKNOWLEDGE, DRIVER, DRIVER_OK, Driver, FEATURES_OK, MSIX_CAPABILITY, Ring, SIZE, VERSION_1,
    config, read, write,
};
use super::{Board, RAM, SLOT, board};
use crate::ConsolePort;

/// Where the BAR with the table is put.
const TABLE: u64 = 0x4000_0000;
const PENDING: u64 = TABLE + 0x800;
/// What vectors are told to send: the address of one, and the data is its number.
const ADDRESS: u64 = 0x1_2800_0000;
const NO_VECTOR: u64 = 0xffff;

const CONFIG_VECTOR: u64 = 0x10;
const QUEUE_VECTOR: u64 = 0x1a;

const ENABLE: u64 = 1 << 15;
const FUNCTION_MASK: u64 = 1 << 14;

/// The offset of the capability.
fn capability(board: &Board) -> u64 {
    let mut at = read(&board.bus, config(SLOT, 0x34), 1);
    while read(&board.bus, config(SLOT, at), 1) != MSIX_CAPABILITY {
        at = read(&board.bus, config(SLOT, at + 1), 1);
        assert_ne!(at, 0);
    }
    at
}

fn control(board: &Board, bits: u64) {
    write(&board.bus, config(SLOT, capability(board) + 2), 2, bits);
}

fn entry(vector: u64) -> u64 {
    TABLE + 16 * vector
}

fn mask(board: &Board, vector: u64, masked: bool) {
    write(&board.bus, entry(vector) + 12, 4, masked.into());
}

/// A driver that has started the console with vectors 0 (configuration), 1 and 2 (queues).
fn start(board: &Board) -> (Driver<'_>, [Ring<'_>; 2]) {
    let bus = &board.bus;
    let driver = Driver::attach(bus);
    write(bus, config(SLOT, 0x14), 4, TABLE);
    control(board, ENABLE);
    for vector in 0..3 {
        write(bus, entry(vector), 8, ADDRESS + 0x1000 * vector);
        write(bus, entry(vector) + 8, 4, vector);
        mask(board, vector, false);
    }
    driver.negotiate(VERSION_1 | SIZE);
    driver.set(CONFIG_VECTOR, 2, 0);
    let rings = [0, 1].map(|index| {
        driver.set(0x16, 2, index);
        driver.set(QUEUE_VECTOR, 2, 1 + index);
        let ring = Ring::new(&board.ram, RAM + 0x1_0000 * index, 16, 0);
        driver.enable(index as u16, &ring);
        ring
    });
    driver.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
    (driver, rings)
}

/// Has the device use a buffer of the transmit queue.
fn transmit(driver: &Driver<'_>, ring: &mut Ring<'_>) {
    ring.describe(0, (RAM + 0x4_0000, 8, 0, 0));
    ring.offer(0);
    driver.notify(1);
    assert!(ring.take().is_some());
}

const fn message(vector: u64) -> (u64, u32) {
    (ADDRESS + 0x1000 * vector, vector as u32)
}

/// Section 6.8.2 of the PCI specification.
#[test]
fn the_capability_describes_table_and_pending_bits() {
    let board = board();
    let at = capability(&board);
    // Three vectors, counted from 0, in BAR 1; the pending bits behind them.
    assert_eq!(read(&board.bus, config(SLOT, at + 2), 2), 2);
    assert_eq!(read(&board.bus, config(SLOT, at + 4), 4), 1);
    assert_eq!(read(&board.bus, config(SLOT, at + 8), 4), 0x801);
    write(&board.bus, config(SLOT, at + 2), 2, 0xffff);
    write(&board.bus, config(SLOT, at + 4), 8, !0);
    assert_eq!(read(&board.bus, config(SLOT, at + 2), 2), 0xc002);
    assert_eq!(read(&board.bus, config(SLOT, at + 4), 4), 1);

    let bus = &board.bus;
    write(bus, config(SLOT, 0x14), 4, TABLE);
    write(bus, config(SLOT, 0x04), 2, 2);
    for vector in 0..3 {
        assert_eq!(read(bus, entry(vector) + 12, 4), 1, "masked after reset");
        write(bus, entry(vector), 8, !0);
        write(bus, entry(vector) + 8, 8, !0);
        assert_eq!(read(bus, entry(vector), 8), !3);
        assert_eq!(read(bus, entry(vector) + 8, 8), 0x1_ffff_ffff);
    }
    // Not in the table; not a whole word; not aligned; the pending bits, which only the device sets.
    write(bus, entry(3), 8, !0);
    write(bus, entry(0), 2, 0);
    write(bus, entry(0) + 4, 8, 0);
    write(bus, PENDING, 8, !0);
    assert_eq!(read(bus, entry(3), 8), 0);
    assert_eq!(read(bus, entry(0), 8), !3);
    assert_eq!(read(bus, PENDING, 8), 0);
    assert_eq!(board.messages.take(), []);
}

/// Virtio 1.2, section 4.1.5.1.2: what cannot be mapped reads back as no vector.
#[test]
fn vectors_are_assigned_if_they_exist() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    driver.set(0x16, 2, 1);
    for register in [CONFIG_VECTOR, QUEUE_VECTOR] {
        assert_eq!(driver.get(register, 2), NO_VECTOR);
        for (vector, expected) in [
            (0, 0),
            (2, 2),
            (3, NO_VECTOR),
            (1, 1),
            (NO_VECTOR, NO_VECTOR),
        ] {
            driver.set(register, 2, vector);
            assert_eq!(driver.get(register, 2), expected);
        }
        driver.set(register, 2, 2);
    }
    // Each queue has its own; one that does not exist has none.
    driver.set(0x16, 2, 0);
    assert_eq!(driver.get(QUEUE_VECTOR, 2), NO_VECTOR);
    driver.set(0x16, 2, 2);
    driver.set(QUEUE_VECTOR, 2, 1);
    assert_eq!(driver.get(QUEUE_VECTOR, 2), 0);
    // A reset takes them away.
    driver.set_status(0);
    driver.set(0x16, 2, 1);
    assert_eq!(driver.get(CONFIG_VECTOR, 2), NO_VECTOR);
    assert_eq!(driver.get(QUEUE_VECTOR, 2), NO_VECTOR);
}

/// Section 4.1.5.1.3: the queue's vector is sent, and neither pin nor ISR say anything.
#[test]
fn used_buffers_and_changes_send_their_vectors() {
    let board = board();
    let (driver, [_, mut transmitted]) = start(&board);
    transmit(&driver, &mut transmitted);
    assert_eq!(board.messages.take(), [message(2)]);
    board.console.resize(132, 43);
    assert_eq!(board.messages.take(), [message(0)]);
    assert_eq!(driver.isr(), 0);
    assert!(!board.interrupted());
    // Without a vector, nothing is sent.
    driver.set(0x16, 2, 1);
    driver.set(QUEUE_VECTOR, 2, NO_VECTOR);
    transmit(&driver, &mut transmitted);
    assert_eq!(board.messages.take(), []);
    assert!(!board.interrupted());
    // With messages off, the pin serves.
    control(&board, 0);
    transmit(&driver, &mut transmitted);
    assert_eq!(board.messages.take(), []);
    assert!(board.interrupted());
    control(&board, ENABLE);
    assert!(!board.interrupted(), "no pin beside messages");
    control(&board, 0);
    assert!(board.interrupted());
    assert_eq!(driver.isr(), 1);
    assert!(!board.interrupted());
}

/// Section 6.8.3.4 of the PCI specification: what is masked stays pending, and is sent once.
#[test]
fn masked_vectors_wait() {
    let board = board();
    let (driver, [_, mut transmitted]) = start(&board);
    mask(&board, 2, true);
    transmit(&driver, &mut transmitted);
    transmit(&driver, &mut transmitted);
    assert_eq!(read(&board.bus, PENDING, 8), 1 << 2);
    control(&board, ENABLE | FUNCTION_MASK);
    mask(&board, 2, false);
    assert_eq!(board.messages.take(), []);
    board.console.resize(132, 43);
    assert_eq!(read(&board.bus, PENDING, 8), 1 << 2 | 1);
    // What is sent is what the table says by then.
    write(&board.bus, entry(2) + 8, 4, 99);
    control(&board, ENABLE);
    assert_eq!(board.messages.take(), [message(0), (message(2).0, 99)]);
    assert_eq!(read(&board.bus, PENDING, 8), 0);
}

/// A device that is reset sends nothing of what it had to say, and starts anew.
#[test]
fn a_reset_forgets_what_is_pending() {
    let board = board();
    let (driver, [_, mut transmitted]) = start(&board);
    mask(&board, 2, true);
    transmit(&driver, &mut transmitted);
    driver.set_status(0);
    assert_eq!(read(&board.bus, PENDING, 8), 0);
    mask(&board, 2, false);
    assert_eq!(board.messages.take(), []);
    let (driver, [_, mut transmitted]) = start(&board);
    transmit(&driver, &mut transmitted);
    assert_eq!(board.messages.take(), [message(2)]);
}

/// Table, masks, vectors and pending bits move with the machine, in whatever order they are restored.
#[test]
fn a_restored_device_sends_what_the_saved_one_would() {
    for transport_first in [false, true] {
        let old = board();
        let (driver, [_, mut transmitted]) = start(&old);
        mask(&old, 2, true);
        transmit(&driver, &mut transmitted);
        let (pci, function) = (old.pci.save(), old.function.save());
        let new = board();
        if transport_first {
            new.function.restore(&function).unwrap();
            new.pci.restore(&pci).unwrap();
        } else {
            new.pci.restore(&pci).unwrap();
            new.function.restore(&function).unwrap();
        }
        assert_eq!((new.pci.save(), new.function.save()), (pci, function));
        mask(&new, 2, false);
        assert_eq!(new.messages.take(), [message(2)]);
    }
}

#[test]
fn vectors_that_are_not_there_are_not_restored() {
    let board = board();
    let good = board.function.save();
    for change in [
        (|state: &mut crate::virtio::TransportState| state.config_vector = 3) as fn(&mut _),
        |state| state.queue_vectors[1] = 0xfffe,
        |state| state.queue_vectors.truncate(1),
    ] {
        let mut state = good.clone();
        change(&mut state.transport);
        assert!(board.function.restore(&state).is_err());
        assert_eq!(board.function.save(), good);
    }
}

proptest! {
    /// Whatever a guest writes to table, capability and vectors while the device works, only what it
    /// wrote there is sent, and what it did can be saved.
    #[test]
    fn hostile_tables_send_only_what_they_hold(
        writes in prop::collection::vec((0..0x1000u64, 0..4u32, any::<u64>(), any::<bool>()), 0..80),
    ) {
        let board = board();
        let (driver, [_, mut transmitted]) = start(&board);
        for (offset, length, value, into_config) in writes {
            let length = 1 << length;
            if into_config {
                control(&board, value & 0xffff);
                driver.set(0x16, 2, value >> 16 & 1);
                driver.set(QUEUE_VECTOR, 2, value >> 17 & 3);
            } else {
                let address = TABLE + offset.min(0x1000 - length);
                write(&board.bus, address, length as usize, value);
                read(&board.bus, address, length as usize);
            }
            transmit(&driver, &mut transmitted);
            let table = board.pci.save().functions[&SLOT].msix.clone().unwrap();
            for (address, _) in board.messages.take() {
                prop_assert!(table.vectors.iter().any(|vector| vector.address == address));
            }
        }
        let saved = board.pci.save();
        board.pci.restore(&saved).unwrap();
        prop_assert_eq!(board.pci.save(), saved);
    }
}
