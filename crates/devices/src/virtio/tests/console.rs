//! The console through the whole path: bus, PCI, rings in guest memory.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, OnceLock};

use clade_engine::{GuestRam, PageRun, harvest_dirty};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::driver::{
    BUFFERS, Driver, EVENT_INDEX, INDIRECT, INDIRECT_TABLE, NEXT, Ring, SIZE, VERSION_1, WRITE,
    config, read, write, write_descriptor,
};
use super::{Board, RAM, RAM_SIZE, SLOT, board, board_with, peek, poke};
use crate::testing::Screen;
use crate::virtio::VirtioConsole;
use crate::{Bus, ConsoleHost, ConsolePort};

const RECEIVE: u16 = 0;
const TRANSMIT: u16 = 1;

#[test]
fn what_the_guest_prints_comes_out() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    let [_, mut ring] = driver.start(&board.ram, VERSION_1);
    poke(&board.ram, BUFFERS, b"hello, ");
    poke(&board.ram, BUFFERS + 0x1000, b"world");
    ring.describe(3, (BUFFERS, 7, NEXT, 9));
    ring.describe(9, (BUFFERS + 0x1000, 5, 0, 0));
    assert!(ring.offer(3));
    assert_eq!(board.screen.take(), b"");
    driver.notify(TRANSMIT);
    assert_eq!(board.screen.take(), b"hello, world");
    assert_eq!(ring.take(), Some((3, 0)));
    assert_eq!(ring.take(), None);

    // The pin stays asserted until the reason is read.
    assert!(board.interrupted());
    assert_ne!(read(&board.bus, config(SLOT, 0x06), 2) & 8, 0);
    assert_eq!(driver.isr(), 1);
    assert!(!board.interrupted());
    assert_eq!(read(&board.bus, config(SLOT, 0x06), 2) & 8, 0);
    assert_eq!(driver.isr(), 0);

    // A buffer that the driver wants no interrupt for.
    ring.store(ring.available, 1);
    ring.offer(3);
    driver.notify(TRANSMIT);
    assert_eq!(board.screen.take(), b"hello, world");
    assert!(!board.interrupted());
}

#[test]
fn buffers_offered_before_the_driver_is_ready_are_not_forgotten() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    driver.negotiate(VERSION_1);
    let mut ring = Ring::new(&board.ram, RAM, 16, VERSION_1);
    driver.enable(TRANSMIT, &ring);
    poke(&board.ram, BUFFERS, b"early");
    ring.describe(0, (BUFFERS, 5, 0, 0));
    ring.offer(0);
    driver.notify(TRANSMIT);
    assert_eq!(board.screen.take(), b"");
    driver.set_status(0xf);
    assert_eq!(board.screen.take(), b"early");
}

#[test]
fn the_pin_can_be_disabled() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    let [_, mut ring] = driver.start(&board.ram, VERSION_1);
    ring.describe(0, (BUFFERS, 1, 0, 0));
    write(&board.bus, config(SLOT, 0x04), 2, 0x406);
    ring.offer(0);
    driver.notify(TRANSMIT);
    assert!(!board.interrupted());
    assert_ne!(read(&board.bus, config(SLOT, 0x06), 2) & 8, 0);
    write(&board.bus, config(SLOT, 0x04), 2, 0x006);
    assert!(board.interrupted());
}

#[test]
fn indirect_buffers_work() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    let [_, mut ring] = driver.start(&board.ram, VERSION_1 | INDIRECT);
    let table = BUFFERS + 0x2000;
    poke(&board.ram, BUFFERS, b"abcdef");
    write_descriptor(&board.ram, table, (BUFFERS + 3, 3, NEXT, 1));
    write_descriptor(&board.ram, table + 16, (BUFFERS, 3, 0, 0));
    ring.describe(0, (table, 32, INDIRECT_TABLE, 0));
    ring.offer(0);
    driver.notify(TRANSMIT);
    assert_eq!(board.screen.take(), b"defabc");
    assert_eq!(ring.take(), Some((0, 0)));
}

#[test]
fn what_the_host_types_goes_in() {
    let board = board();
    // Nobody is there yet.
    assert_eq!(board.console.input(b"early"), 0);
    let driver = Driver::attach(&board.bus);
    let [mut ring, _] = driver.start(&board.ram, VERSION_1);
    board.screen.take_room();
    assert_eq!(board.console.input(b"early"), 0);

    ring.describe(0, (BUFFERS, 4, WRITE, 0));
    ring.describe(1, (BUFFERS + 0x1000, 2, NEXT | WRITE, 2));
    ring.describe(2, (BUFFERS + 0x2000, 8, WRITE, 0));
    ring.offer(0);
    ring.offer(1);
    driver.notify(RECEIVE);
    assert_eq!(board.screen.take_room(), 1);
    assert_eq!(board.console.input(b"0123456"), 7);
    assert!(board.interrupted());
    assert_eq!(driver.isr(), 1);
    assert_eq!(ring.take(), Some((0, 4)));
    assert_eq!(ring.take(), Some((1, 3)));
    assert_eq!(peek(&board.ram, BUFFERS, 5), b"0123\0");
    assert_eq!(peek(&board.ram, BUFFERS + 0x1000, 3), b"45\0");
    assert_eq!(peek(&board.ram, BUFFERS + 0x2000, 2), b"6\0");
    ring.offer(0);
    driver.notify(RECEIVE);
    assert_eq!(board.console.input(b"0123456"), 4);
}

#[test]
fn event_indices_save_interrupts_and_notifications() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    let [mut receive, mut transmit] = driver.start(&board.ram, VERSION_1 | EVENT_INDEX);
    for index in 0..8 {
        transmit.describe(index, (BUFFERS, 1, 0, 0));
        receive.describe(index, (BUFFERS + 0x1000, 1, WRITE, 0));
    }
    // Interrupt only when the fourth buffer is used.
    transmit.set_used_event(3);
    let mut interrupts = Vec::new();
    for index in 0..8 {
        assert!(transmit.offer(index));
        driver.notify(TRANSMIT);
        interrupts.push(board.interrupted());
        driver.isr();
    }
    assert_eq!(
        interrupts,
        (0..8).map(|index| index == 3).collect::<Vec<_>>()
    );

    // As long as there are buffers to type into, more of them are no news.
    assert!(receive.offer(0));
    driver.notify(RECEIVE);
    assert!(!receive.offer(1));
    assert_eq!(board.console.input(b"xyz"), 2);
    assert!(receive.offer(2));
}

#[test]
fn resizing_interrupts_with_a_new_generation() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    let size = || {
        let device = driver.address(4, 0);
        let generation = driver.get(0x15, 1);
        let columns = read(&board.bus, device, 2);
        let rows = read(&board.bus, device + 2, 2);
        (columns, rows, generation)
    };
    assert_eq!(size(), (80, 25, 0));
    // Before the driver is ready it changes without an interrupt.
    board.console.resize(100, 30);
    assert_eq!(size(), (100, 30, 1));
    assert!(!board.interrupted());
    driver.start(&board.ram, VERSION_1 | SIZE);
    board.console.resize(132, 43);
    assert!(board.interrupted());
    assert_eq!(driver.isr(), 2);
    assert_eq!(size(), (132, 43, 2));
    board.console.resize(132, 43);
    assert!(!board.interrupted());
    assert_eq!(read(&board.bus, driver.address(4, 4), 4), 1);
    assert_eq!(read(&board.bus, driver.address(4, 12), 8), 0);
}

#[test]
fn a_reset_ends_everything() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    let [mut receive, mut transmit] = driver.start(&board.ram, VERSION_1);
    transmit.describe(0, (BUFFERS, 1, 0, 0));
    receive.describe(0, (BUFFERS, 9, WRITE, 0));
    transmit.offer(0);
    receive.offer(0);
    driver.notify(TRANSMIT);
    assert!(board.interrupted());
    transmit.offer(0);
    board.screen.take();
    driver.set_status(0);
    assert!(!board.interrupted());
    driver.notify(TRANSMIT);
    assert_eq!(board.screen.take(), b"");
    assert_eq!(board.console.input(b"x"), 0);
    // And it starts again.
    poke(&board.ram, RAM, &[0; 0x2_0000]);
    let [_, mut transmit] = driver.start(&board.ram, VERSION_1);
    transmit.describe(0, (BUFFERS, 2, 0, 0));
    transmit.offer(0);
    driver.notify(TRANSMIT);
    assert_eq!(board.screen.take().len(), 2);
}

/// Copies memory and all states, as text, into a new board.
fn copy(board: &Board) -> Board {
    let copy = self::board();
    poke(&copy.ram, RAM, &peek(&board.ram, RAM, RAM_SIZE as usize));
    copy.function
        .restore(&through_text(&board.function.save()))
        .unwrap();
    copy.pci.restore(&through_text(&board.pci.save())).unwrap();
    copy.console.restore(&through_text(&board.console.save()));
    copy
}

fn through_text<T: Serialize + DeserializeOwned>(state: &T) -> T {
    serde_json::from_str(&serde_json::to_string(state).unwrap()).unwrap()
}

#[test]
fn a_restored_console_goes_on_in_the_middle() {
    let source = board();
    let driver = Driver::attach(&source.bus);
    let features = VERSION_1 | EVENT_INDEX | SIZE;
    let [mut receive, mut transmit] = driver.start(&source.ram, features);
    for index in 0..16 {
        transmit.describe(index, (BUFFERS + u64::from(index), 1, 0, 0));
        receive.describe(index, (BUFFERS + 0x1000 + u64::from(index), 1, WRITE, 0));
    }
    poke(&source.ram, BUFFERS, b"0123456789abcdef");
    for round in 0..40 {
        transmit.offer(round % 16);
        driver.notify(TRANSMIT);
        assert!(transmit.take().is_some());
    }
    source.screen.take();
    for index in 0..4 {
        receive.offer(index);
    }
    assert_eq!(source.console.input(b"ab"), 2);
    source.console.resize(40, 12);
    // One buffer is offered, but the device was not told yet.
    transmit.offer(5);

    let target = copy(&source);
    assert_eq!(target.pci.save(), source.pci.save());
    assert_eq!(target.function.save(), source.function.save());
    assert!(target.interrupted());
    let driver = Driver {
        bus: &target.bus,
        structures: driver.structures,
    };
    assert_eq!(driver.isr(), 3);
    assert!(!target.interrupted());
    assert_eq!(read(&target.bus, driver.address(4, 0), 2), 40);
    let (mut receive, mut transmit) = (receive.moved(&target.ram), transmit.moved(&target.ram));
    transmit.offer(6);
    driver.notify(TRANSMIT);
    assert_eq!(target.screen.take(), b"56");
    assert_eq!(transmit.take(), Some((5, 0)));
    assert_eq!(transmit.take(), Some((6, 0)));
    assert_eq!(target.console.input(b"cdef"), 2);
    let typed: Vec<_> = std::iter::from_fn(|| receive.take()).collect();
    assert_eq!(typed, [(0, 1), (1, 1), (2, 1), (3, 1)]);
    assert_eq!(peek(&target.ram, BUFFERS + 0x1000, 4), b"abcd");
    assert_eq!(source.screen.take(), b"");
}

#[test]
fn impossible_states_are_refused() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    driver.start(&board.ram, VERSION_1);
    let saved = board.function.save();
    let refused = |change: &dyn Fn(&mut crate::virtio::TransportState)| {
        let mut state = saved.clone();
        change(&mut state.transport);
        assert!(board.function.restore(&state).is_err());
        assert_eq!(board.function.save(), saved);
    };
    refused(&|state| state.device_id = 2);
    refused(&|state| state.status |= 0x10);
    refused(&|state| state.status &= !8);
    refused(&|state| state.isr = 4);
    refused(&|state| state.driver_features |= 1 << 40);
    refused(&|state| state.driver_features = 0);
    refused(&|state| {
        state.queues.pop();
    });
    refused(&|state| state.queues[0].size = 12);
    refused(&|state| state.queues[0].size = 512);
    refused(&|state| state.queues[1].descriptors += 8);
    refused(&|state| state.queues[1].available += 1);
    refused(&|state| state.queues[1].used = 0);
    board.function.restore(&saved).unwrap();
}

#[test]
fn device_writes_mark_pages_dirty() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    let [mut ring, _] = driver.start(&board.ram, VERSION_1);
    let at = BUFFERS + 0x5fff;
    ring.describe(0, (at, 2, WRITE, 0));
    ring.offer(0);
    harvest_dirty(&board.ram);
    assert_eq!(board.console.input(b"xy"), 2);
    let run = |start, pages| PageRun { start, pages };
    assert_eq!(
        harvest_dirty(&board.ram),
        [run(ring.used, 1), run(at & !0xfff, 2)]
    );
}

/// A terminal that types each piece of output back at once, as a host may.
#[derive(Default)]
struct Echo {
    screen: Screen,
    console: OnceLock<Arc<VirtioConsole>>,
}

impl ConsoleHost for Echo {
    fn output(&self, bytes: &[u8]) {
        self.screen.output(bytes);
        self.console.get().unwrap().input(bytes);
    }

    fn input_room(&self) {
        self.console.get().unwrap().resize(1, 2);
    }
}

#[test]
fn the_host_may_call_back() {
    let echo = Arc::new(Echo::default());
    let board = board_with(Arc::default(), echo.clone());
    assert!(echo.console.set(board.console.clone()).is_ok());
    let driver = Driver::attach(&board.bus);
    let [mut receive, mut transmit] = driver.start(&board.ram, VERSION_1);
    receive.describe(0, (BUFFERS + 0x1000, 64, WRITE, 0));
    receive.offer(0);
    driver.notify(RECEIVE);
    poke(&board.ram, BUFFERS, b"echo");
    transmit.describe(0, (BUFFERS, 4, 0, 0));
    transmit.offer(0);
    driver.notify(TRANSMIT);
    assert_eq!(receive.take(), Some((0, 4)));
    assert_eq!(peek(&board.ram, BUFFERS + 0x1000, 4), b"echo");
}

/// A terminal during whose output another vCPU resets the device and sets it up anew.
#[derive(Default)]
struct Restart {
    guest: OnceLock<(Arc<Bus>, Arc<GuestRam>)>,
    printed: AtomicUsize,
}

impl ConsoleHost for Restart {
    fn output(&self, _bytes: &[u8]) {
        if self.printed.fetch_add(1, Ordering::SeqCst) == 0 {
            let (bus, ram) = self.guest.get().unwrap();
            let driver = Driver::attach(bus);
            driver.set_status(0);
            poke(ram, RAM, &[0; 0x2_0000]);
            driver.start(ram, VERSION_1);
        }
    }

    fn input_room(&self) {}
}

#[test]
fn a_buffer_from_before_a_reset_is_not_given_back_after() {
    let restart = Arc::new(Restart::default());
    let board = board_with(Arc::default(), restart.clone());
    let guest = (board.bus.clone(), board.ram.clone());
    assert!(restart.guest.set(guest).is_ok());
    let driver = Driver::attach(&board.bus);
    let [_, mut ring] = driver.start(&board.ram, VERSION_1);
    ring.describe(0, (BUFFERS, 1, 0, 0));
    ring.offer(0);
    driver.notify(TRANSMIT);
    assert_eq!(restart.printed.load(Ordering::SeqCst), 1);
    assert_eq!(ring.take(), None);
    assert!(!board.interrupted());
    // The new driver's buffers are printed.
    let mut ring = Ring::new(&board.ram, ring.descriptors, 16, 0);
    ring.describe(0, (BUFFERS, 1, 0, 0));
    ring.offer(0);
    driver.notify(TRANSMIT);
    assert_eq!(restart.printed.load(Ordering::SeqCst), 2);
    assert_eq!(ring.take(), Some((0, 0)));
}

#[test]
fn notifications_from_several_vcpus_print_everything_once_and_in_order() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    let [_, ring] = driver.start(&board.ram, VERSION_1 | EVENT_INDEX);
    for index in 0..16 {
        ring.describe(index, (BUFFERS + u64::from(index), 1, 0, 0));
    }
    poke(&board.ram, BUFFERS, b"0123456789abcdef");
    const ROUNDS: u16 = 4000;
    let ring = std::sync::Mutex::new((ring, 0u16));
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                barrier.wait();
                // Far more turns than it takes; a device that stalls fails the test below.
                for _ in 0..20_000_000 {
                    let mut guard = ring.lock().unwrap();
                    let (ring, offered): &mut (Ring, u16) = &mut guard;
                    while ring.take().is_some() {}
                    if *offered == ROUNDS {
                        return;
                    }
                    // Never more than the ring holds: the device lags by what is not taken back.
                    let notify = ring.outstanding() < 16 && {
                        *offered += 1;
                        ring.offer((*offered - 1) % 16)
                    };
                    drop(guard);
                    if notify {
                        driver.notify(TRANSMIT);
                    }
                }
            });
        }
    });
    let printed = board.screen.take();
    assert_eq!(printed.len(), usize::from(ROUNDS));
    let expected = b"0123456789abcdef".iter().cycle();
    assert!(printed.iter().eq(expected.take(printed.len())));
}
