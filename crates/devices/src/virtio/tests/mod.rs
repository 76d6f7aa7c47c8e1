//! Devices driven from the guest's side, by a driver of our own over the bus.

mod balloon;
mod block;
mod block_board;
mod block_hostile;
mod console;
mod doorbells;
mod driver;
mod fs;
mod hostile;
mod input;
mod mmio;
mod msix;
mod net;
mod pci;
mod rng;
mod serial;
mod serial_hostile;
mod vsock;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clade_engine::GuestRam;
use vm_memory::{Bytes, GuestAddress};

use super::{VirtioConsole, VirtioDevice, VirtioPci, Waker};
use crate::pci::{PciHost, PciHostBuilder, PciLayout};
use crate::testing::{Messages, Screen, Wire};
use crate::{Bus, BusBuilder, ConsoleHost};

const RAM: u64 = 0x8000_0000;
const RAM_SIZE: u64 = 1 << 20;
const SLOT: u8 = 6;

/// A board with guest memory, a PCI bus and a virtio console in slot 6.
struct Board {
    ram: Arc<GuestRam>,
    wires: [Arc<Wire>; 4],
    messages: Arc<Messages>,
    screen: Arc<Screen>,
    console: Arc<VirtioConsole>,
    function: Arc<VirtioPci>,
    pci: Arc<PciHost>,
    bus: Arc<Bus>,
}

/// A board with guest memory and one device, in slot 6 of its PCI bus.
struct PluggedIn {
    ram: Arc<GuestRam>,
    wires: [Arc<Wire>; 4],
    messages: Arc<Messages>,
    function: Arc<VirtioPci>,
    pci: Arc<PciHost>,
    bus: Arc<Bus>,
}

fn plug_in(device: Arc<dyn VirtioDevice>) -> PluggedIn {
    plug_in_beside(ram(), device)
}

/// The same, for a device that knows the memory itself.
fn plug_in_beside(ram: Arc<GuestRam>, device: Arc<dyn VirtioDevice>) -> PluggedIn {
    let wires: [Arc<Wire>; 4] = Default::default();
    let messages = Arc::new(Messages::default());
    let mut builder =
        PciHostBuilder::new(wires.clone().map(|wire| wire as _)).with_messages(messages.clone());
    let function = builder
        .plug(SLOT, |pin| VirtioPci::new(device, &ram, pin))
        .unwrap();
    let pci = builder.build();
    let mut bus = BusBuilder::new();
    pci.map(&mut bus, &PciLayout::VIRT).unwrap();
    PluggedIn {
        ram,
        wires,
        messages,
        function,
        pci,
        bus: Arc::new(bus.build()),
    }
}

/// Counts how often it was woken.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wakes {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Waker for Wakes {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn ram() -> Arc<GuestRam> {
    Arc::new(GuestRam::from_ranges(&[(GuestAddress(RAM), RAM_SIZE as usize)]).unwrap())
}

fn poke(ram: &GuestRam, address: u64, bytes: &[u8]) {
    ram.write_slice(bytes, GuestAddress(address)).unwrap();
}

fn peek(ram: &GuestRam, address: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    ram.read_slice(&mut bytes, GuestAddress(address)).unwrap();
    bytes
}

fn board() -> Board {
    let screen = Arc::new(Screen::default());
    board_with(screen.clone(), screen)
}

fn board_with(screen: Arc<Screen>, host: Arc<dyn ConsoleHost>) -> Board {
    let console = VirtioConsole::new(host);
    let PluggedIn {
        ram,
        wires,
        messages,
        function,
        pci,
        bus,
    } = plug_in(console.clone());
    Board {
        ram,
        wires,
        messages,
        screen,
        console,
        function,
        pci,
        bus,
    }
}

impl Board {
    /// The wire that INTA of slot 6 leads to.
    fn interrupted(&self) -> bool {
        let others = [0, 1, 3].map(|wire| self.wires[wire].level());
        assert_eq!(others, [false; 3]);
        self.wires[2].level()
    }
}
