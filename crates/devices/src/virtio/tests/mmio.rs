//! The memory-mapped transport.

use std::sync::Arc;

use vm_memory::{Bytes, GuestAddress};

use super::driver::{BUFFERS, Ring, VERSION_1};
use super::{RAM, ram};
use crate::ConsolePort;
use crate::testing::{Screen, Wire, read32, write32};
use crate::virtio::{VirtioConsole, VirtioMmio};

#[test]
fn an_empty_slot_says_so() {
    let slot = VirtioMmio::empty();
    assert_eq!(read32(&*slot, 0x00), 0x7472_6976);
    assert_eq!(read32(&*slot, 0x04), 2);
    for offset in (0x08..0x200).step_by(4).filter(|&offset| offset != 0x0c) {
        write32(&*slot, offset, u32::MAX);
        assert_eq!(read32(&*slot, offset), 0);
    }
    assert!(slot.save().is_none());
}

#[test]
fn a_console_works_and_is_restored() {
    let ram = ram();
    let (wire, screen) = (Wire::new(), Arc::new(Screen::default()));
    let console = VirtioConsole::new(screen.clone());
    let slot = VirtioMmio::new(console.clone(), &ram, wire.clone());
    let get = |offset| read32(&*slot, offset);
    let set = |offset, value| write32(&*slot, offset, value);

    assert_eq!(get(0x08), 3);
    set(0x70, 3);
    set(0x14, 1);
    assert_eq!(get(0x10), 1);
    set(0x24, 1);
    set(0x20, (VERSION_1 >> 32) as u32);
    set(0x70, 11);
    assert_eq!(get(0x70), 11);
    set(0x30, 1);
    assert_eq!((get(0x34), get(0x44)), (256, 0));
    let mut ring = Ring::new(&ram, RAM, 8, VERSION_1);
    set(0x38, 8);
    set(0x80, ring.descriptors as u32);
    set(0x90, ring.available as u32);
    set(0xa0, ring.used as u32);
    set(0x44, 1);
    assert_eq!(get(0x44), 1);
    set(0x70, 15);

    ram.write_slice(b"mmio", GuestAddress(BUFFERS)).unwrap();
    ring.describe(0, (BUFFERS, 4, 0, 0));
    ring.offer(0);
    set(0x50, 0x1_0001);
    assert_eq!(screen.take(), b"");
    set(0x50, 1);
    assert_eq!(screen.take(), b"mmio");
    assert_eq!(ring.take(), Some((0, 0)));
    assert!(wire.level());
    assert_eq!(get(0x60), 1);
    set(0x64, 1);
    assert!(!wire.level());
    console.resize(20, 10);
    assert_eq!((get(0x60), get(0xfc), get(0x100)), (2, 1, 10 << 16 | 20));

    // Over MMIO a queue can be taken out of use.
    let saved = slot.save().unwrap();
    set(0x44, 0);
    assert_eq!(get(0x44), 0);
    ring.offer(0);
    set(0x50, 1);
    assert_eq!(screen.take(), b"");

    let (wire, screen) = (Wire::new(), Arc::new(Screen::default()));
    let other = VirtioMmio::new(VirtioConsole::new(screen.clone()), &ram, wire.clone());
    other.restore(&saved).unwrap();
    assert!(wire.level());
    write32(&*other, 0x50, 1);
    assert_eq!(screen.take(), b"mmio");
    assert!(VirtioMmio::empty().restore(&saved).is_err());
}
