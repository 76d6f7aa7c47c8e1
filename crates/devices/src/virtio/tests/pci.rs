//! Enumeration, decoding and the transport's rules.

use super::driver::{
    ACKNOWLEDGE, BAR, DRIVER, DRIVER_OK, Driver, ECAM, EVENT_INDEX, FEATURES_OK, INDIRECT,
    NEEDS_RESET, Ring, SIZE, VERSION_1, config, read, write,
};
use super::{RAM, SLOT, board};
use crate::pci::{MsixState, PciError, PciHostBuilder};
use crate::testing::Wire;
use crate::virtio::{VirtioConsole, VirtioPci};

#[test]
fn functions_are_found_where_they_are_plugged() {
    let board = board();
    let bus = &board.bus;
    assert_eq!(read(bus, config(0, 0), 4), 0x0008_1b36);
    assert_eq!(read(bus, config(0, 0x08), 4) >> 16, 0x0600);
    assert_eq!(read(bus, config(SLOT, 0), 4), 0x1043_1af4);
    assert_eq!(read(bus, config(SLOT, 0x08), 4), 0x0780_0001);
    assert!(read(bus, config(SLOT, 0x2e), 2) >= 0x40);
    assert_eq!(read(bus, config(SLOT, 0x3d), 1), 1);
    assert_eq!(read(bus, config(SLOT, 0x0e), 1), 0);
    for slot in (1..32).filter(|&slot| slot != SLOT) {
        assert_eq!(read(bus, config(slot, 0), 4), 0xffff_ffff);
    }
    // Neither other functions of the device, nor other buses; and no extended capabilities.
    assert_eq!(read(bus, config(SLOT, 1 << 12), 2), 0xffff);
    assert_eq!(read(bus, ECAM + (1 << 20), 2), 0xffff);
    assert_eq!(read(bus, config(SLOT, 0x100), 4), 0);
    // Identity cannot be written.
    write(bus, config(SLOT, 0), 8, 0);
    assert_eq!(read(bus, config(SLOT, 0), 4), 0x1043_1af4);
}

#[test]
fn slots_are_given_once() {
    let wires: [std::sync::Arc<Wire>; 4] = Default::default();
    let mut builder = PciHostBuilder::new(wires.map(|wire| wire as _));
    let ram = super::ram();
    let mut plug = |slot| {
        let console = VirtioConsole::new(std::sync::Arc::new(crate::testing::Screen::default()));
        let plugged = builder.plug(slot, |pin| VirtioPci::new(console, &ram, pin));
        plugged.map(|_| ())
    };
    assert_eq!(plug(1), Ok(()));
    assert_eq!(plug(1), Err(PciError::Taken(1)));
    assert_eq!(plug(0), Err(PciError::NoSlot(0)));
    assert_eq!(plug(32), Err(PciError::NoSlot(32)));
}

#[test]
fn a_bar_is_sized_placed_and_enabled() {
    let board = board();
    let bus = &board.bus;
    for register in [0x10, 0x18, 0x1c, 0x30] {
        write(bus, config(SLOT, register), 4, 0xffff_ffff);
        assert_eq!(read(bus, config(SLOT, register), 4), 0);
    }
    write(bus, config(SLOT, 0x20), 4, 0xffff_ffff);
    write(bus, config(SLOT, 0x24), 4, 0xffff_ffff);
    // That of MSI-X: 4 KiB, 32-bit.
    write(bus, config(SLOT, 0x14), 4, 0xffff_ffff);
    assert_eq!(read(bus, config(SLOT, 0x14), 4), 0xffff_f000);
    // 16 KiB, 64-bit, prefetchable (section 6.2.5.1 of the PCI specification).
    assert_eq!(read(bus, config(SLOT, 0x20), 4), 0xffff_c00c);
    assert_eq!(read(bus, config(SLOT, 0x24), 4), 0xffff_ffff);

    let places = [BAR, BAR + 0x3_ffff_c000, 0x4000_0000, 0x7fff_c000];
    for place in places {
        write(bus, config(SLOT, 0x04), 2, 0);
        write(bus, config(SLOT, 0x20), 4, place & 0xffff_ffff);
        write(bus, config(SLOT, 0x24), 4, place >> 32);
        // Nothing decodes until the guest enables memory.
        assert_eq!(read(bus, place + 0x12, 2), 0xffff);
        write(bus, config(SLOT, 0x04), 2, 2);
        assert_eq!(read(bus, place + 0x12, 2), 2);
        assert_eq!(read(bus, place ^ 0x4000 | 0x12, 2), 0xffff);
        for other in places.iter().filter(|&&other| other != place) {
            assert_eq!(read(bus, other + 0x12, 2), 0xffff);
        }
        write(bus, place ^ 0x4000 | 0x14, 1, 1);
        assert_eq!(read(bus, place + 0x14, 1), 0);
    }
    assert_eq!(read(bus, 0x300_0000, 4), 0xffff_ffff);
}

#[test]
fn capabilities_describe_the_structures() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    let kinds: Vec<u8> = driver.structures.keys().copied().collect();
    assert_eq!(kinds, [1, 2, 3, 4, 5]);
    let mut ranges: Vec<(u64, u64)> = (1..=4)
        .map(|kind| driver.structures[&kind])
        .map(|structure| (structure.offset, structure.offset + structure.length))
        .collect();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0));
    assert!(ranges.iter().all(|&(_, end)| end <= 0x4000));
    // The notification multiplier follows the capability.
    let notify = driver.structures[&2].capability;
    assert_eq!(read(&board.bus, config(SLOT, notify + 16), 4), 4);
}

#[test]
fn features_are_negotiated() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    let offered = driver.device_features();
    assert_eq!(offered, VERSION_1 | EVENT_INDEX | INDIRECT | SIZE);
    driver.set(0x00, 4, 2);
    assert_eq!(driver.get(0x04, 4), 0);

    // A feature that was not offered, or no VERSION_1: FEATURES_OK does not stick.
    for features in [VERSION_1 | 1 << 40, VERSION_1 | 2, SIZE, 0] {
        driver.set_status(0);
        driver.set_status(ACKNOWLEDGE | DRIVER);
        driver.set_features(features);
        driver.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK);
        assert_eq!(driver.status(), ACKNOWLEDGE | DRIVER);
        // And without it there is no DRIVER_OK.
        driver.set_status(ACKNOWLEDGE | DRIVER | DRIVER_OK);
        assert_eq!(driver.status(), ACKNOWLEDGE | DRIVER);
    }
    driver.negotiate(VERSION_1 | SIZE);
    // Too late for other features.
    driver.set_features(VERSION_1 | EVENT_INDEX);
    driver.set(0x08, 4, 0);
    assert_eq!(driver.get(0x0c, 4), SIZE);
}

#[test]
fn queues_are_configured_before_they_are_enabled() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    driver.negotiate(VERSION_1);
    assert_eq!(driver.get(0x12, 2), 2);
    driver.set(0x16, 2, 1);
    assert_eq!((driver.get(0x18, 2), driver.get(0x1c, 2)), (256, 0));
    assert_eq!(driver.get(0x1e, 2), 1);
    assert_eq!((driver.get(0x10, 2), driver.get(0x1a, 2)), (0xffff, 0xffff));
    for bad in [0, 3, 512] {
        driver.set(0x18, 2, bad);
        assert_eq!(driver.get(0x18, 2), 256);
    }
    let ring = Ring::new(&board.ram, RAM, 16, 0);
    driver.enable(1, &ring);
    assert_eq!((driver.get(0x18, 2), driver.get(0x1c, 2)), (16, 1));
    assert_eq!(driver.get(0x20, 8), ring.descriptors);
    driver.set(0x18, 2, 8);
    driver.set(0x20, 4, 0);
    driver.set(0x1c, 2, 0);
    assert_eq!((driver.get(0x18, 2), driver.get(0x1c, 2)), (16, 1));
    assert_eq!(driver.get(0x20, 8), ring.descriptors);
    // A queue that does not exist has size 0 and ignores everything.
    driver.enable(2, &ring);
    assert_eq!((driver.get(0x18, 2), driver.get(0x1c, 2)), (0, 0));
    driver.set_status(0);
    driver.set(0x16, 2, 1);
    assert_eq!((driver.get(0x18, 2), driver.get(0x1c, 2)), (256, 0));
    assert_eq!(driver.get(0x20, 8), 0);
}

#[test]
fn a_queue_outside_of_memory_breaks_the_device() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    driver.negotiate(VERSION_1);
    driver.enable(0, &Ring::new(&board.ram, RAM + super::RAM_SIZE - 16, 16, 0));
    assert_ne!(driver.status() & NEEDS_RESET, 0);
    driver.set(0x16, 2, 0);
    assert_eq!(driver.get(0x1c, 2), 0);
    driver.set_status(0);
    assert_eq!(driver.status(), 0);
}

#[test]
fn structures_are_reached_through_configuration_space() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    // It works without memory decoding: that is what it is for (section 4.1.4.9).
    write(&board.bus, config(SLOT, 0x04), 2, 0);
    let capability = driver.structures[&5].capability;
    let set_up = |offset: u64, length: u64| {
        write(&board.bus, config(SLOT, capability + 4), 1, 4);
        write(&board.bus, config(SLOT, capability + 8), 4, offset);
        write(&board.bus, config(SLOT, capability + 12), 4, length);
    };
    let data = config(SLOT, capability + 16);
    let common = driver.structures[&1].offset;
    set_up(common + 0x12, 2);
    assert_eq!(read(&board.bus, data, 2), 2);
    set_up(common + 0x14, 1);
    write(&board.bus, data, 1, ACKNOWLEDGE.into());
    assert_eq!(read(&board.bus, data, 1), u64::from(ACKNOWLEDGE));
    // Not an access that exists: unaligned, of no such length, beyond the BAR, of another BAR.
    for (offset, length) in [(common + 0x13, 2), (common, 3), (common, 8), (0x4000, 4)] {
        set_up(offset, length);
        write(&board.bus, data, 4, 0);
        assert_eq!(read(&board.bus, data, 4), 0);
    }
    set_up(common + 0x14, 1);
    write(&board.bus, config(SLOT, capability + 4), 1, 0);
    write(&board.bus, data, 1, 0);
    write(&board.bus, config(SLOT, 0x04), 2, 2);
    assert_eq!(driver.status(), ACKNOWLEDGE);
}

#[test]
fn a_state_of_another_bus_is_refused() {
    let board = board();
    let saved = board.pci.save();
    let mut other = saved.clone();
    other.functions.remove(&SLOT);
    assert!(board.pci.restore(&other).is_err());
    let mut other = saved.clone();
    other.functions.get_mut(&SLOT).unwrap().config[2] ^= 1;
    assert!(board.pci.restore(&other).is_err());
    let mut other = saved.clone();
    other.functions.get_mut(&SLOT).unwrap().config.pop();
    assert!(board.pci.restore(&other).is_err());
    assert_eq!(board.pci.save(), saved);
    let mut other = saved.clone();
    other.functions.get_mut(&SLOT).unwrap().msix = None;
    assert!(board.pci.restore(&other).is_err());
    let refused = |change: fn(&mut MsixState)| {
        let mut other = saved.clone();
        change(
            other
                .functions
                .get_mut(&SLOT)
                .unwrap()
                .msix
                .as_mut()
                .unwrap(),
        );
        assert!(board.pci.restore(&other).is_err());
        assert_eq!(board.pci.save(), saved);
    };
    refused(|msix| msix.vectors.truncate(2));
    refused(|msix| msix.vectors[0].address = 2);
    refused(|msix| msix.pending[0] = 1 << 3);
    refused(|msix| msix.pending[1] = 1);
    board.pci.restore(&saved).unwrap();
}
