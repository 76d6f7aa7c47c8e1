//! The balloon: what the guest gives is taken, page by page, and nothing else.

use std::sync::{Arc, Mutex};

use clade_engine::GuestRam;
use proptest::prelude::*;
use vm_memory::GuestMemoryBackend;
use vm_memory::bitmap::Bitmap;

use super::driver::{BUFFERS, Driver, NEEDS_RESET, NEXT, Ring, VERSION_1, WRITE, read, write};
use super::{PluggedIn, RAM, RAM_SIZE, Wakes, peek, plug_in_beside, poke, ram};
use crate::Bus;
use crate::sync::lock;
use crate::testing::Wire;
use crate::virtio::balloon::{BalloonState, MemoryReclaim};
use crate::virtio::{GuestSlice, VirtioBalloon};

const INFLATE: u16 = 0;
const DEFLATE: u16 = 1;
const REPORTING: u16 = 2;
const PAGE: u64 = 4096;

/// Fills what it takes with zeros, and notes where it was in host memory.
#[derive(Clone, Default)]
struct Taken(Arc<Mutex<Vec<(usize, usize)>>>);

impl MemoryReclaim for Taken {
    fn reclaim(&self, memory: &GuestSlice<'_>) {
        memory.copy_from(&vec![0_u8; memory.len()]);
        lock(&self.0).push((memory.ptr_guard().as_ptr() as usize, memory.len()));
    }
}

struct Board {
    ram: Arc<GuestRam>,
    taken: Taken,
    wakes: Arc<Wakes>,
    wires: [Arc<Wire>; 4],
    balloon: Arc<VirtioBalloon>,
    bus: Arc<Bus>,
}

fn board() -> Board {
    let (ram, taken, wakes) = (ram(), Taken::default(), Arc::new(Wakes::default()));
    let balloon = VirtioBalloon::new(ram.clone(), Box::new(taken.clone()), wakes.clone());
    let PluggedIn { wires, bus, .. } = plug_in_beside(ram.clone(), balloon.clone());
    Board {
        ram,
        taken,
        wakes,
        wires,
        balloon,
        bus,
    }
}

impl Board {
    /// A driver that has set the device up with one ring for `queue`.
    fn attach(&self, queue: u16) -> (Driver<'_>, Ring<'_>) {
        let driver = Driver::attach(&self.bus);
        driver.negotiate(VERSION_1 | 1 << 2 | 1 << 5);
        let ring = Ring::new(&self.ram, RAM, 16, VERSION_1);
        driver.enable(queue, &ring);
        driver.set_status(0xf);
        (driver, ring)
    }

    /// Where the pages that were taken are in guest memory, with their numbers.
    fn taken(&self) -> Vec<(u64, usize)> {
        let start = self.ram.iter().next().unwrap().as_ptr() as usize;
        let taken = std::mem::take(&mut *lock(&self.taken.0));
        let guest = |(address, length): (usize, usize)| {
            ((address - start) as u64 + RAM, length / PAGE as usize)
        };
        taken.into_iter().map(guest).collect()
    }
}

/// A request with these page numbers.
fn ask(board: &Board, driver: &Driver<'_>, ring: &mut Ring<'_>, queue: u16, pages: &[u64]) {
    let numbers: Vec<u8> = pages
        .iter()
        .flat_map(|address| ((address / PAGE) as u32).to_le_bytes())
        .collect();
    poke(&board.ram, BUFFERS, &numbers);
    ring.describe(0, (BUFFERS, numbers.len() as u32, 0, 0));
    ring.offer(0);
    driver.notify(queue);
    assert_ne!(board.wakes.count(), 0);
    assert!(!board.balloon.process());
}

#[test]
fn takes_the_pages_that_the_driver_names_and_gives_them_back() {
    let board = board();
    let (driver, mut ring) = board.attach(INFLATE);
    let page = |number: u64| RAM + 0x4_0000 + number * PAGE;
    poke(&board.ram, page(0), &[9; 5 * PAGE as usize]);
    let pages = [page(0), page(1), page(3)];
    ask(&board, &driver, &mut ring, INFLATE, &pages);
    assert_eq!(ring.take(), Some((0, 0)));
    assert_eq!(board.taken(), [(page(0), 2), (page(3), 1)]);
    let left = |number| peek(&board.ram, page(number), 1)[0];
    assert_eq!([0, 1, 2, 3, 4].map(left), [0, 0, 9, 0, 9]);

    let (driver, mut ring) = board.attach(DEFLATE);
    ask(&board, &driver, &mut ring, DEFLATE, &pages);
    assert_eq!(ring.take(), Some((0, 0)));
    assert_eq!(board.taken(), []);
}

#[test]
fn takes_whole_pages_of_what_is_reported_free() {
    let board = board();
    let (driver, mut ring) = board.attach(REPORTING);
    let start = RAM + 0x4_0000;
    poke(&board.ram, start - PAGE, &[9; 8 * PAGE as usize]);
    // The second begins and ends within pages that are not free as a whole.
    ring.describe(0, (start, 2 * PAGE as u32, WRITE | NEXT, 1));
    ring.describe(1, (start + 3 * PAGE - 8, 2 * PAGE as u32, WRITE, 0));
    ring.offer(0);
    driver.notify(REPORTING);
    assert!(!board.balloon.process());
    assert_eq!(ring.take(), Some((0, 0)));
    assert_eq!(board.taken(), [(start, 2), (start + 3 * PAGE, 1)]);
    assert_eq!(peek(&board.ram, start + 4 * PAGE, 1), [9]);
}

#[test]
fn what_is_taken_counts_as_written() {
    let board = board();
    let (driver, mut ring) = board.attach(INFLATE);
    let page = RAM + 0x4_0000;
    let is_dirty = || {
        let region = board.ram.iter().next().unwrap();
        region.bitmap().dirty_at((page - RAM) as usize)
    };
    board.ram.iter().next().unwrap().bitmap().reset();
    assert!(!is_dirty());
    ask(&board, &driver, &mut ring, INFLATE, &[page]);
    assert!(is_dirty());
}

#[test]
fn tells_the_driver_how_much_the_host_wants() {
    let board = board();
    assert!(!board.balloon.set_target(100));
    let (driver, _ring) = board.attach(INFLATE);
    assert!(board.balloon.set_target(300));
    assert!(board.wires.iter().any(|wire| wire.level()));
    assert_eq!(read(&board.bus, driver.address(4, 0), 4), 300);
    write(&board.bus, driver.address(4, 4), 4, 200);
    let saved = board.balloon.save();
    let expected = BalloonState {
        target: 300,
        actual: 200,
    };
    assert_eq!(saved, expected);
    driver.set_status(0);
    assert_eq!(board.balloon.save().actual, 0);
    board.balloon.restore(&saved);
    assert_eq!(read(&board.bus, driver.address(4, 4), 4), 200);
    // Elsewhere, and in other sizes, nothing is written.
    write(&board.bus, driver.address(4, 0), 4, 1);
    write(&board.bus, driver.address(4, 4), 2, 1);
    assert_eq!(board.balloon.save(), saved);
}

#[test]
fn a_page_outside_of_memory_breaks_the_device_and_nothing_else() {
    for outside in [0, RAM - PAGE, RAM + RAM_SIZE, u64::from(u32::MAX) * PAGE] {
        let board = board();
        let (driver, mut ring) = board.attach(INFLATE);
        ask(
            &board,
            &driver,
            &mut ring,
            INFLATE,
            &[RAM + 0x4_0000, outside],
        );
        assert_ne!(driver.status() & NEEDS_RESET, 0, "{outside:#x}");
        assert_eq!(board.taken(), []);
    }
}

proptest! {
    #[test]
    fn any_page_numbers_take_only_what_is_guest_memory(
        numbers in prop::collection::vec(prop_oneof![0..0x8_0200_u32, any::<u32>()], 0..100),
        length in 0..500_u32,
        queue in 0..3_u16,
        write in any::<bool>(),
    ) {
        let board = board();
        let (driver, mut ring) = board.attach(queue);
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        poke(&board.ram, BUFFERS, &bytes);
        let flags = if write { WRITE } else { 0 };
        ring.describe(0, (BUFFERS, length, flags, 0));
        ring.offer(0);
        driver.notify(queue);
        board.balloon.process();
        for (address, pages) in board.taken() {
            prop_assert!(address >= RAM && address + pages as u64 * PAGE <= RAM + RAM_SIZE);
        }
    }
}
