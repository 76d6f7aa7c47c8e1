//! Notifications that an engine takes without leaving the guest.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use clade_engine::{Doorbells, Entropy};

use super::driver::{BAR, Driver, config, write};
use super::{SLOT, Wakes, ram};
use crate::pci::{PciHost, PciHostBuilder, PciLayout};
use crate::testing::{Screen, Wire};
use crate::virtio::{VirtioConsole, VirtioNet, VirtioPci, VirtioRng, Waker};
use crate::{Bus, BusBuilder};

/// Where notifications go, in the BAR.
const NOTIFY: u64 = 0x3000;
/// The other device's slot.
const OTHER: u8 = SLOT + 1;

/// An engine that only remembers.
#[derive(Default)]
struct Taken {
    bells: Mutex<Vec<(u64, i32)>>,
    refuses: AtomicBool,
}

impl Taken {
    /// The addresses that are taken, in order.
    fn addresses(&self) -> Vec<u64> {
        let mut addresses: Vec<u64> = self
            .bells
            .lock()
            .unwrap()
            .iter()
            .map(|bell| bell.0)
            .collect();
        addresses.sort_unstable();
        addresses
    }
}

impl Doorbells for Taken {
    fn connect(&self, address: u64, event: BorrowedFd<'_>) -> io::Result<()> {
        let mut bells = self.bells.lock().unwrap();
        if self.refuses.load(Ordering::SeqCst) || bells.iter().any(|bell| bell.0 == address) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        bells.push((address, event.as_raw_fd()));
        Ok(())
    }

    fn disconnect(&self, address: u64, event: BorrowedFd<'_>) {
        let mut bells = self.bells.lock().unwrap();
        let bell = (address, event.as_raw_fd());
        let at = bells.iter().position(|other| *other == bell);
        bells.remove(at.expect("it is connected"));
    }
}

/// Wakes nobody, by something that passes for an eventfd.
struct Event(File);

impl Waker for Event {
    fn wake(&self) {}

    fn event(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

fn event() -> Arc<Event> {
    Arc::new(Event(File::open("/dev/null").unwrap()))
}

struct NoEntropy;

impl Entropy for NoEntropy {
    fn fill(&self, _bytes: &mut [u8]) {}
}

/// A network card with its two queues in [`SLOT`], an entropy device with its one in [`OTHER`], and a
/// console, which nobody works for, behind them.
fn build(engine: &Arc<Taken>) -> (Arc<PciHost>, Bus) {
    let wires: [Arc<Wire>; 4] = Default::default();
    let builder = PciHostBuilder::new(wires.map(|wire| wire as _));
    let mut builder = builder.with_doorbells(engine.clone());
    let ram = ram();
    let net = VirtioNet::new([2; 6], event());
    let rng = VirtioRng::new(Arc::new(NoEntropy), event());
    let console = VirtioConsole::new(Arc::new(Screen::default()));
    builder
        .plug(SLOT, |pin| VirtioPci::new(net, &ram, pin))
        .unwrap();
    builder
        .plug(OTHER, |pin| VirtioPci::new(rng, &ram, pin))
        .unwrap();
    builder
        .plug(OTHER + 1, |pin| VirtioPci::new(console, &ram, pin))
        .unwrap();
    let pci = builder.build();
    let mut bus = BusBuilder::new();
    pci.map(&mut bus, &PciLayout::VIRT).unwrap();
    (pci, bus.build())
}

fn place(bus: &Bus, slot: u8, address: u64) {
    write(bus, config(slot, 0x20), 4, address & 0xffff_ffff);
    write(bus, config(slot, 0x24), 4, address >> 32);
}

fn decode(bus: &Bus, slot: u8, enabled: bool) {
    write(bus, config(slot, 0x04), 2, if enabled { 6 } else { 0 });
}

#[test]
fn doorbells_are_where_the_guest_puts_their_bar() {
    let engine = Arc::new(Taken::default());
    let (_pci, bus) = build(&engine);
    place(&bus, SLOT, BAR);
    assert!(engine.addresses().is_empty(), "nothing decodes yet");
    decode(&bus, SLOT, true);
    assert_eq!(engine.addresses(), [BAR + NOTIFY, BAR + NOTIFY + 4]);
    // Moved while it decodes, register by register.
    place(&bus, SLOT, 0x4000_0000);
    assert_eq!(engine.addresses(), [0x4000_3000, 0x4000_3004]);
    // Where no window leads to it.
    place(&bus, SLOT, 0x1000_0000);
    assert!(engine.addresses().is_empty());
    place(&bus, SLOT, 0x7fff_c000);
    assert_eq!(engine.addresses(), [0x7fff_f000, 0x7fff_f004]);
    decode(&bus, SLOT, false);
    assert!(engine.addresses().is_empty());
    // What does its work on the vCPU's thread has none.
    place(&bus, OTHER + 1, BAR);
    decode(&bus, OTHER + 1, true);
    assert!(engine.addresses().is_empty());
}

#[test]
fn bars_over_each_other_have_none() {
    let engine = Arc::new(Taken::default());
    let (_pci, bus) = build(&engine);
    for slot in [OTHER, SLOT] {
        place(&bus, slot, BAR);
        // That of MSI-X is out of the way.
        write(
            &bus,
            config(slot, 0x14),
            4,
            0x5000_0000 + (u64::from(slot) << 12),
        );
        decode(&bus, slot, true);
    }
    assert!(
        engine.addresses().is_empty(),
        "which of both answers is the bus's to say"
    );
    place(&bus, OTHER, BAR + 0x4000);
    let own = [BAR + NOTIFY, BAR + NOTIFY + 4];
    assert_eq!(engine.addresses(), [own[0], own[1], BAR + 0x4000 + NOTIFY]);
    // The same addresses, others' doorbells.
    decode(&bus, OTHER, false);
    place(&bus, OTHER, BAR);
    let before = engine.bells.lock().unwrap().clone();
    decode(&bus, SLOT, false);
    decode(&bus, OTHER, true);
    let after = engine.bells.lock().unwrap().clone();
    assert_eq!(after.len(), 1);
    assert_eq!(after[0].0, BAR + NOTIFY);
    assert!(!before.contains(&after[0]), "another event");
    // MSI-X's BAR over them.
    write(&bus, config(OTHER, 0x14), 4, 0x4000_0000);
    place(&bus, OTHER, 0x4000_0000);
    assert!(engine.addresses().is_empty());
}

#[test]
fn a_restored_bus_has_its_doorbells() {
    let engine = Arc::new(Taken::default());
    let (pci, bus) = build(&engine);
    place(&bus, SLOT, BAR);
    decode(&bus, SLOT, true);
    let saved = pci.save();
    let again = Arc::new(Taken::default());
    let (restored, _bus) = build(&again);
    restored.restore(&saved).unwrap();
    assert_eq!(again.addresses(), engine.addresses());
    // To where nothing was: those that were there are gone.
    let (empty, _bus) = build(&Arc::default());
    restored.restore(&empty.save()).unwrap();
    assert!(again.addresses().is_empty());
}

#[test]
fn what_the_engine_refuses_goes_by_the_bus() {
    let engine = Arc::new(Taken::default());
    engine.refuses.store(true, Ordering::SeqCst);
    let wakes = Arc::new(Wakes::default());
    let net = VirtioNet::new([2; 6], wakes.clone());
    let board = super::plug_in(net);
    let driver = Driver::attach(&board.bus);
    driver.start(&board.ram, super::driver::VERSION_1);
    let before = wakes.count();
    driver.notify(1);
    assert_eq!(wakes.count(), before + 1);

    let (_pci, bus) = build(&engine);
    place(&bus, SLOT, BAR);
    decode(&bus, SLOT, true);
    assert!(engine.addresses().is_empty());
    // And is asked for again when there is another reason to look.
    engine.refuses.store(false, Ordering::SeqCst);
    write(&bus, config(SLOT, 0x0c), 1, 0);
    assert_eq!(engine.addresses().len(), 2);
}
