//! The power button, pressed from the host and read by a driver.

use std::sync::Arc;

use clade_engine::GuestRam;
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::driver::{BUFFERS, Driver, NEEDS_RESET, Ring, VERSION_1, WRITE, read, write};
use super::{PluggedIn, RAM, plug_in};
use crate::Bus;
use crate::virtio::PowerButton;

const EVENTS: u16 = 0;
const STATUS: u16 = 1;

struct Board {
    ram: Arc<GuestRam>,
    button: Arc<PowerButton>,
    bus: Arc<Bus>,
}

fn board() -> Board {
    let button = PowerButton::new();
    let PluggedIn { ram, bus, .. } = plug_in(button.clone());
    Board { ram, button, bus }
}

/// What the configuration structure answers to a selection.
fn ask(driver: &Driver<'_>, select: u8, subselect: u8) -> Vec<u8> {
    write(driver.bus, driver.address(4, 0), 1, select.into());
    write(driver.bus, driver.address(4, 1), 1, subselect.into());
    let length = read(driver.bus, driver.address(4, 2), 1);
    (0..length)
        .map(|at| read(driver.bus, driver.address(4, 8 + at), 1) as u8)
        .collect()
}

/// Offers so many buffers for events, of this length, in a ring of 16.
fn offer_events(ring: &mut Ring<'_>, count: u16, length: u32) {
    for index in 0..count {
        let buffer = BUFFERS + 8 * u64::from(index);
        ring.describe(index, (buffer, length, WRITE, 0));
        ring.offer(index);
    }
}

#[test]
fn it_says_that_it_is_a_keyboard_with_one_key() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    assert_eq!(ask(&driver, 0x01, 0), b"Power Button");
    assert!(!ask(&driver, 0x02, 0).is_empty());
    assert_eq!(ask(&driver, 0x03, 0).len(), 8);
    let keys = ask(&driver, 0x11, 1);
    let pressed: Vec<usize> = (0..keys.len() * 8)
        .filter(|key| keys[key / 8] >> (key % 8) & 1 != 0)
        .collect();
    assert_eq!(pressed, [116]);
    // No relative axes, lights or properties.
    for (select, subselect) in [
        (0, 0),
        (0x11, 2),
        (0x11, 17),
        (0x10, 0),
        (0x12, 0),
        (255, 255),
    ] {
        assert_eq!(ask(&driver, select, subselect), b"");
    }
}

#[test]
fn a_press_is_four_events() {
    let board = board();
    assert!(!board.button.press(), "no driver is there");
    let driver = Driver::attach(&board.bus);
    let [mut events, _] = driver.start(&board.ram, VERSION_1);
    assert!(!board.button.press(), "the driver offers no buffers");
    offer_events(&mut events, 8, 8);
    driver.notify(EVENTS);
    assert!(board.button.press());
    assert_eq!(driver.isr(), 1);
    let sent: Vec<(u16, u16, u32)> = std::iter::from_fn(|| events.take())
        .map(|(head, length)| {
            assert_eq!(length, 8);
            let at = GuestAddress(BUFFERS + 8 * u64::from(head));
            let bytes: [u8; 8] = board.ram.read_obj(at).unwrap();
            let half = |at| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
            (
                half(0),
                half(2),
                u32::from(half(4)) | u32::from(half(6)) << 16,
            )
        })
        .collect();
    assert_eq!(sent, [(1, 116, 1), (0, 0, 0), (1, 116, 0), (0, 0, 0)]);
    driver.set_status(0);
    assert!(!board.button.press(), "the driver has gone");
}

#[test]
fn a_buffer_that_is_too_small_breaks_the_device() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    let [mut events, _] = driver.start(&board.ram, VERSION_1);
    offer_events(&mut events, 4, 7);
    assert!(!board.button.press());
    assert_ne!(driver.status() & NEEDS_RESET, 0);
}

#[test]
fn what_is_sent_to_lights_comes_back() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    let [_, mut status] = driver.start(&board.ram, VERSION_1);
    for index in 0..3 {
        status.describe(index, (BUFFERS, 8, 0, 0));
        status.offer(index);
    }
    driver.notify(STATUS);
    let back: Vec<_> = std::iter::from_fn(|| status.take()).collect();
    assert_eq!(back, [(0, 0), (1, 0), (2, 0)]);
}

#[test]
fn the_selection_is_its_state() {
    let (board, copy) = (board(), board());
    let driver = Driver::attach(&board.bus);
    ask(&driver, 0x11, 1);
    let text = serde_json::to_string(&board.button.save()).unwrap();
    copy.button.restore(&serde_json::from_str(&text).unwrap());
    assert_eq!(copy.button.save(), board.button.save());
    let driver = Driver::attach(&copy.bus);
    assert_eq!(read(&copy.bus, driver.address(4, 2), 1), 15);
}

proptest! {
    #[test]
    fn no_driver_breaks_anything_but_itself(
        writes in prop::collection::vec((0u64..136, any::<u64>()), 0..20),
        chains in prop::collection::vec((any::<u64>(), any::<u32>(), 0u16..8, any::<u16>()), 1..16),
        index in any::<u16>(),
    ) {
        let board = board();
        let driver = Driver::attach(&board.bus);
        for (offset, value) in writes {
            write(&board.bus, driver.address(4, offset), 1, value);
            read(&board.bus, driver.address(4, offset & !7), 8);
        }
        let rings = driver.start(&board.ram, VERSION_1);
        for ring in &rings {
            for (slot, &(address, length, flags, next)) in (0..).zip(&chains) {
                ring.describe(slot, (RAM + address % 0x20_0000, length, flags, next));
                ring.store(ring.available + 4 + 2 * u64::from(slot), next);
            }
            ring.store(ring.available + 2, index);
        }
        driver.notify(STATUS);
        driver.notify(EVENTS);
        board.button.press();
        driver.set_status(0);
        prop_assert_eq!(driver.status(), 0);
    }
}
