//! The disk through the whole path: bus, PCI, rings in guest memory.

use clade_engine::{PageRun, harvest_dirty};

use super::block_board::{
    DATA, DISCARD, FLUSH, GET_ID, IN, OUT, SECTORS, UNTOUCHED, WRITE_ZEROES, disk_board, header_of,
    status_of,
};
use super::driver::{
    Driver, EVENT_INDEX, NEEDS_RESET, NEXT, Ring, VERSION_1, WRITE, config, read, write,
};
use super::{RAM, RAM_SIZE, SLOT, peek, poke};

const FEATURE_READ_ONLY: u64 = 1 << 5;
const FEATURE_FLUSH: u64 = 1 << 9;
const FEATURE_WRITE_CACHE: u64 = 1 << 11;
const FEATURE_DISCARD: u64 = 1 << 13;
const FEATURE_WRITE_ZEROES: u64 = 1 << 14;

/// What drivers negotiate.
const FEATURES: u64 = VERSION_1 | FEATURE_FLUSH;

const OK: u8 = 0;
const ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

#[test]
fn blocks_are_read_and_written() {
    let board = disk_board(false);
    let driver = Driver::attach(&board.bus);
    let [mut ring, _] = driver.start(&board.ram, FEATURES);
    let sent = board.request(&driver, &mut ring, (IN, 5), (DATA, 1024, WRITE));
    assert_eq!(sent, (OK, 1025));
    assert_eq!(peek(&board.ram, DATA, 512), [5; 512]);
    assert_eq!(
        peek(&board.ram, DATA + 512, 513),
        [&[6; 512][..], &[0]].concat()
    );
    assert!(board.interrupted());

    poke(&board.ram, DATA, &[0xaa; 512]);
    let last = SECTORS - 1;
    let sent = board.request(&driver, &mut ring, (OUT, last), (DATA, 512, 0));
    assert_eq!(sent, (OK, 1));
    let medium = board.medium.lock().unwrap();
    assert_eq!(medium.bytes[last as usize * 512..], [0xaa; 512]);
    assert_eq!(medium.done, ["read 2560 1024", "write 32256 512"]);
}

#[test]
fn a_vcpu_only_wakes_the_thread() {
    let board = disk_board(false);
    let driver = Driver::attach(&board.bus);
    let [mut ring, _] = driver.start(&board.ram, FEATURES);
    let before = board.wakes.count();
    board.offer(&mut ring, 0, (IN, 0), (DATA, 512, WRITE));
    driver.notify(0);
    assert_eq!(board.wakes.count(), before + 1);
    assert_eq!(ring.take(), None);
    assert_eq!(board.medium.lock().unwrap().waiting(), 0);
    board.device.process();
    assert_eq!(ring.take(), Some((0, 513)));
}

#[test]
fn the_disk_describes_itself() {
    for read_only in [false, true] {
        let board = disk_board(read_only);
        let driver = Driver::attach(&board.bus);
        let features = driver.device_features();
        let has = |feature: u64| features & feature != 0;
        assert_eq!(has(FEATURE_READ_ONLY), read_only);
        assert_eq!(has(FEATURE_DISCARD), !read_only);
        assert_eq!(has(FEATURE_WRITE_ZEROES), !read_only);
        assert!(has(FEATURE_FLUSH));
        let at = |offset, length| read(&board.bus, driver.address(4, offset), length);
        assert_eq!(at(0, 8), SECTORS);
        assert_eq!(at(12, 4), 254);
        assert_eq!(at(20, 4), 512);
        assert_eq!(at(24, 1), 3);
        assert_eq!(at(32, 1), 1);
        assert_eq!(at(34, 2), 2);
        assert_eq!(at(44, 4), if read_only { 0 } else { 8 });
        assert_eq!(at(60, 8), 0);
    }
}

#[test]
fn flushes_and_identification() {
    let board = disk_board(false);
    let driver = Driver::attach(&board.bus);
    let [mut ring, _] = driver.start(&board.ram, FEATURES);
    board.prepare(0, FLUSH, 0);
    let chain = [(header_of(0), 16, NEXT, 1), (status_of(0), 1, WRITE, 0)];
    assert_eq!(board.chain(&driver, &mut ring, &chain), Some((0, 1)));
    assert_eq!(board.status(0), OK);
    assert_eq!(board.medium.lock().unwrap().done, ["flush"]);

    let sent = board.request(&driver, &mut ring, (GET_ID, 0), (DATA, 20, WRITE));
    assert_eq!(sent, (OK, 21));
    assert_eq!(peek(&board.ram, DATA, 20), b"a serial number of 2");
    let sent = board.request(&driver, &mut ring, (GET_ID, 0), (DATA, 19, WRITE));
    assert_eq!(sent, (ERROR, 1));
}

#[test]
fn impossible_requests_are_refused_one_by_one() {
    let board = disk_board(false);
    let driver = Driver::attach(&board.bus);
    let [mut ring, _] = driver.start(&board.ram, FEATURES);
    let refused = [
        // Beyond the end, from its end, and by overflow.
        ((IN, SECTORS), 512, ERROR),
        ((IN, SECTORS - 1), 1024, ERROR),
        ((OUT, SECTORS), 512, ERROR),
        ((IN, u64::MAX), 512, ERROR),
        ((OUT, u64::MAX / 512), 1024, ERROR),
        ((OUT, 1 << 55), 512, ERROR),
        // No whole sectors.
        ((IN, 0), 511, ERROR),
        ((OUT, 0), 513, ERROR),
        // No ranges.
        ((DISCARD, 0), 15, ERROR),
        ((WRITE_ZEROES, 0), 32, ERROR),
        // Nothing that is known.
        ((2, 0), 512, UNSUPPORTED),
        ((14, 0), 512, UNSUPPORTED),
        ((u32::MAX, 0), 512, UNSUPPORTED),
    ];
    for (what, length, status) in refused {
        let direction = if what.0 == IN { WRITE } else { 0 };
        let sent = board.request(&driver, &mut ring, what, (DATA, length, direction));
        assert_eq!(sent, (status, 1), "{what:?} {length}");
    }
    assert!(board.medium.lock().unwrap().done.is_empty());
    let sent = board.request(&driver, &mut ring, (IN, 0), (DATA, 0, WRITE));
    assert_eq!(sent, (OK, 1));
}

#[test]
fn framing_is_the_drivers_affair() {
    let board = disk_board(false);
    let driver = Driver::attach(&board.bus);
    let [mut ring, _] = driver.start(&board.ram, FEATURES);
    // The header in three pieces, with the data behind it in the last; a status byte.
    board.prepare(0, OUT, 1);
    poke(&board.ram, header_of(0) + 16, &[0xbb; 512]);
    let chain = [
        (header_of(0), 1, NEXT, 1),
        (header_of(0) + 1, 14, NEXT, 2),
        (header_of(0) + 15, 300, NEXT, 3),
        (header_of(0) + 315, 213, NEXT, 4),
        (DATA, 1, WRITE, 0),
    ];
    assert_eq!(board.chain(&driver, &mut ring, &chain), Some((0, 1)));
    assert_eq!(peek(&board.ram, DATA, 1), [OK]);
    assert_eq!(board.medium.lock().unwrap().bytes[512..1024], [0xbb; 512]);

    // Data and status in one piece.
    board.prepare(0, IN, 7);
    let chain = [(header_of(0), 16, NEXT, 1), (DATA, 513, WRITE, 0)];
    assert_eq!(board.chain(&driver, &mut ring, &chain), Some((0, 513)));
    assert_eq!(peek(&board.ram, DATA, 513), [&[7; 512][..], &[OK]].concat());

    // Half a header.
    let chain = [(header_of(0), 15, NEXT, 1), (status_of(0), 1, WRITE, 0)];
    assert_eq!(board.chain(&driver, &mut ring, &chain), Some((0, 1)));
    assert_eq!(board.status(0), ERROR);
}

#[test]
fn requests_that_cannot_be_answered_break_the_device() {
    let bad = [
        // No room for the status.
        vec![(header_of(0), 16, 0, 0)],
        // Not in memory: the header, the data, the status.
        vec![(8, 16, NEXT, 1), (status_of(0), 1, WRITE, 0)],
        vec![
            (header_of(0), 16, NEXT, 1),
            (RAM + RAM_SIZE - 256, 512, WRITE | NEXT, 2),
            (status_of(0), 1, WRITE, 0),
        ],
        vec![(header_of(0), 16, NEXT, 1), (RAM + RAM_SIZE, 1, WRITE, 0)],
    ];
    for chain in bad {
        let board = disk_board(false);
        let driver = Driver::attach(&board.bus);
        let [mut ring, _] = driver.start(&board.ram, FEATURES);
        board.prepare(0, IN, 0);
        assert_eq!(board.chain(&driver, &mut ring, &chain), None);
        assert_ne!(driver.status() & NEEDS_RESET, 0, "{chain:?}");
        assert_eq!(board.status(0), UNTOUCHED);
        assert!(board.medium.lock().unwrap().done.is_empty());
    }
}

#[test]
fn a_disk_that_is_only_read_is_not_written() {
    let board = disk_board(true);
    let driver = Driver::attach(&board.bus);
    let [mut ring, _] = driver.start(&board.ram, VERSION_1 | FEATURE_READ_ONLY | FEATURE_FLUSH);
    for kind in [OUT, DISCARD, WRITE_ZEROES] {
        let sent = board.request(&driver, &mut ring, (kind, 0), (DATA, 512, 0));
        assert_eq!(sent, (ERROR, 1));
    }
    let sent = board.request(&driver, &mut ring, (IN, 0), (DATA, 512, WRITE));
    assert_eq!(sent, (OK, 513));
    assert_eq!(board.medium.lock().unwrap().done, ["read 0 512"]);
}

#[test]
fn ranges_are_discarded_and_zeroed() {
    let board = disk_board(false);
    let driver = Driver::attach(&board.bus);
    let [mut ring, _] = driver.start(&board.ram, FEATURES);
    let mut range = |kind, sector: u64, sectors: u32, flags: u32| {
        let words = [
            &sector.to_le_bytes()[..],
            &sectors.to_le_bytes(),
            &flags.to_le_bytes(),
        ];
        poke(&board.ram, DATA, &words.concat());
        board
            .request(&driver, &mut ring, (kind, 99), (DATA, 16, 0))
            .0
    };
    assert_eq!(range(DISCARD, 1, 8, 0), OK);
    assert_eq!(range(WRITE_ZEROES, 2, 1, 0), OK);
    assert_eq!(range(WRITE_ZEROES, 3, 1, 1), OK);
    assert_eq!(range(DISCARD, 1, 8, 1), UNSUPPORTED);
    assert_eq!(range(WRITE_ZEROES, 1, 8, 2), UNSUPPORTED);
    assert_eq!(range(DISCARD, SECTORS, 1, 0), ERROR);
    assert_eq!(range(DISCARD, 0, u32::MAX, 0), ERROR);
    assert_eq!(range(WRITE_ZEROES, u64::MAX, 1, 0), ERROR);
    let medium = board.medium.lock().unwrap();
    let done = [
        "discard 512 4096",
        "zero 1024 512 false",
        "zero 1536 512 true",
    ];
    assert_eq!(medium.done, done);
}

#[test]
fn what_the_host_cannot_do_is_an_error_for_the_guest() {
    let board = disk_board(false);
    let driver = Driver::attach(&board.bus);
    let [mut ring, _] = driver.start(&board.ram, FEATURES);
    board.medium.lock().unwrap().full = true;
    let sent = board.request(&driver, &mut ring, (OUT, 0), (DATA, 512, 0));
    assert_eq!(sent, (ERROR, 1));
    board.medium.lock().unwrap().full = false;
    let sent = board.request(&driver, &mut ring, (OUT, 0), (DATA, 512, 0));
    assert_eq!(sent, (OK, 1));
    assert_eq!(driver.status() & NEEDS_RESET, 0);
}

#[test]
fn a_driver_that_cannot_flush_loses_nothing() {
    let written = |features, write_back: Option<u64>| {
        let board = disk_board(false);
        let driver = Driver::attach(&board.bus);
        let [mut ring, _] = driver.start(&board.ram, features);
        if let Some(value) = write_back {
            write(&board.bus, driver.address(4, 32), 1, value);
            assert_eq!(read(&board.bus, driver.address(4, 32), 1), value);
        }
        board.request(&driver, &mut ring, (OUT, 0), (DATA, 512, 0));
        let done = board.medium.lock().unwrap().done.clone();
        driver.set_status(0);
        assert_eq!(read(&board.bus, driver.address(4, 32), 1), 1);
        done
    };
    assert_eq!(written(VERSION_1, None), ["durably write 0 512"]);
    assert_eq!(written(FEATURES, None), ["write 0 512"]);
    let chooses = FEATURES | FEATURE_WRITE_CACHE;
    assert_eq!(written(chooses, Some(1)), ["write 0 512"]);
    assert_eq!(written(chooses, Some(0)), ["durably write 0 512"]);
}

#[test]
fn both_queues_work_and_requests_may_finish_in_any_order() {
    let board = disk_board(false);
    let driver = Driver::attach(&board.bus);
    let [mut first, mut second] = driver.start(&board.ram, FEATURES);
    board.medium.lock().unwrap().reverse = true;
    for place in 0..4 {
        let ring = if place < 2 { &mut first } else { &mut second };
        let data = (DATA + 512 * u64::from(place), 512, WRITE);
        board.offer(ring, place, (IN, 10 + u64::from(place)), data);
    }
    driver.notify(0);
    driver.notify(1);
    assert!(!board.device.process());
    let taken = |ring: &mut Ring<'_>| [ring.take(), ring.take(), ring.take()];
    assert_eq!(taken(&mut first), [Some((3, 513)), Some((0, 513)), None]);
    assert_eq!(taken(&mut second), [Some((9, 513)), Some((6, 513)), None]);
    for place in 0..4u8 {
        assert_eq!(
            peek(&board.ram, DATA + 512 * u64::from(place), 512),
            [10 + place; 512]
        );
    }
}

#[test]
fn a_reset_waits_for_what_is_under_way_and_forgets_it() {
    let board = disk_board(false);
    let driver = Driver::attach(&board.bus);
    let [mut ring, _] = driver.start(&board.ram, FEATURES);
    board.medium.lock().unwrap().held = true;
    board.offer(&mut ring, 0, (IN, 3), (DATA, 512, WRITE));
    driver.notify(0);
    board.device.process();
    assert_eq!(board.medium.lock().unwrap().waiting(), 1);
    driver.set_status(0);
    assert_eq!(board.medium.lock().unwrap().waiting(), 0);
    poke(&board.ram, DATA, &[0; 512]);
    poke(&board.ram, RAM, &[0; 0x2_0000]);
    let [mut ring, _] = driver.start(&board.ram, FEATURES);
    board.device.process();
    assert_eq!(ring.take(), None);
    assert_eq!(peek(&board.ram, DATA, 512), [0; 512]);
    assert!(!board.interrupted());
    board.medium.lock().unwrap().held = false;
    let sent = board.request(&driver, &mut ring, (IN, 3), (DATA, 512, WRITE));
    assert_eq!(sent, (OK, 513));
}

#[test]
fn a_driver_cannot_pile_up_requests() {
    let board = disk_board(false);
    let driver = Driver::attach(&board.bus);
    let [mut ring, _] = driver.start(&board.ram, FEATURES);
    board.medium.lock().unwrap().held = true;
    // The same descriptors over and over, without waiting for any of them.
    for _ in 0..100 {
        for _ in 0..16 {
            board.offer(&mut ring, 0, (IN, 0), (DATA, 512, WRITE));
        }
        driver.notify(0);
        board.device.process();
    }
    assert!(board.medium.lock().unwrap().waiting() <= 256);
    board.medium.lock().unwrap().held = false;
    board.device.process();
    assert_eq!(board.medium.lock().unwrap().waiting(), 0);
}

#[test]
fn what_is_complete_at_once_interrupts_once() {
    let board = disk_board(false);
    let driver = Driver::attach(&board.bus);
    let mut rings = driver.start(&board.ram, FEATURES);
    // Vector 1 for both queues.
    let (table, control) = (0x4000_0000, read(&board.bus, config(SLOT, 0x34), 1) + 2);
    write(&board.bus, config(SLOT, 0x14), 4, table);
    write(&board.bus, config(SLOT, control), 2, 1 << 15);
    write(&board.bus, table + 16 + 12, 4, 0);
    for queue in 0..2 {
        driver.set(0x16, 2, queue);
        driver.set(0x1a, 2, 1);
    }
    board.medium.lock().unwrap().held = true;
    for place in 0..5 {
        let ring = &mut rings[usize::from(place == 4)];
        board.offer(ring, place, (OUT, 0), (DATA, 512, 0));
        driver.notify(0);
        board.device.process();
    }
    assert!(board.messages.take().is_empty());
    board.medium.lock().unwrap().held = false;
    board.device.process();
    assert_eq!(board.messages.take().len(), 2, "one for each queue");
    assert_eq!(rings.map(|ring| ring.outstanding()), [4, 1]);
    assert!((0..5).all(|place| board.status(place) == OK));
    board.device.process();
    assert!(board.messages.take().is_empty());
}

#[test]
fn reads_mark_pages_dirty() {
    let board = disk_board(false);
    let driver = Driver::attach(&board.bus);
    let [mut ring, _] = driver.start(&board.ram, FEATURES);
    board.offer(&mut ring, 0, (IN, 0), (DATA + 0xe00, 1024, WRITE));
    harvest_dirty(&board.ram);
    board.device.process();
    let run = |start, pages| PageRun { start, pages };
    let status = status_of(0) & !0xfff;
    let runs = harvest_dirty(&board.ram);
    // The status page and the two data pages touch each other.
    assert_eq!(runs, [run(ring.used & !0xfff, 1), run(status, 3)]);
}

#[test]
fn event_indices_save_notifications_while_the_device_works() {
    let board = disk_board(false);
    let driver = Driver::attach(&board.bus);
    let [mut ring, _] = driver.start(&board.ram, FEATURES | EVENT_INDEX);
    let prepare = |place: u16, ring: &Ring<'_>| {
        board.prepare(place, FLUSH, 0);
        ring.describe(2 * place, (header_of(place), 16, NEXT, 2 * place + 1));
        ring.describe(2 * place + 1, (status_of(place), 1, WRITE, 0));
    };
    (0..4).for_each(|place| prepare(place, &ring));
    assert!(ring.offer(0));
    // It has not looked yet: what comes now it will find anyway.
    assert!(!ring.offer(2));
    assert!(!ring.offer(4));
    board.device.process();
    assert!(ring.offer(6));
}

#[test]
fn a_saved_disk_goes_on_and_another_is_refused() {
    let source = disk_board(false);
    let driver = Driver::attach(&source.bus);
    let [mut ring, _] = driver.start(&source.ram, FEATURES | FEATURE_WRITE_CACHE);
    write(&source.bus, driver.address(4, 32), 1, 0);
    source.medium.lock().unwrap().held = true;
    source.offer(&mut ring, 0, (IN, 9), (DATA, 512, WRITE));
    driver.notify(0);
    source.device.process();
    // What is under way is finished, and not part of the state.
    let state = source.device.save();
    assert_eq!(ring.take(), Some((0, 513)));
    assert_eq!(peek(&source.ram, DATA, 512), [9; 512]);
    assert!(!state.write_back);

    let target = disk_board(false);
    target.device.restore(&state).unwrap();
    assert_eq!(target.device.save(), state);
    let mut other = state.clone();
    other.capacity += 512;
    assert!(target.device.restore(&other).is_err());
    let mut other = state.clone();
    other.serial.push('x');
    assert!(target.device.restore(&other).is_err());
    assert!(disk_board(true).device.restore(&state).is_err());
    assert_eq!(target.device.save(), state);
    let transport = source.function.save();
    target.function.restore(&transport).unwrap();
}
