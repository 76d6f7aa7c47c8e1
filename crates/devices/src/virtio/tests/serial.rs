//! Named serial ports through the whole path.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use clade_engine::GuestRam;

use super::driver::{
    ACKNOWLEDGE, BUFFERS, DRIVER, DRIVER_OK, Driver, EVENT_INDEX, FEATURES_OK, Ring, VERSION_1,
    WRITE, read,
};
use super::{PluggedIn, RAM, RAM_SIZE, Wakes, peek, plug_in, poke};
use crate::Bus;
use crate::virtio::serial::{PORTS_MAX, SerialHost, SerialState};
use crate::virtio::{VirtioPci, VirtioSerial};

pub(super) const MULTIPORT: u64 = 1 << 1;

pub(super) const CONTROL_RECEIVE: usize = 2;
pub(super) const CONTROL_TRANSMIT: usize = 3;

/// The events of section 5.3.6.2.
const DEVICE_READY: u16 = 0;
const DEVICE_ADD: u16 = 1;
const PORT_READY: u16 = 3;
const PORT_OPEN: u16 = 6;
const PORT_NAME: u16 = 7;

/// The host's end of a port: what is in the pipe, and who is there.
#[derive(Default)]
pub(super) struct Line {
    pub(super) clients_waiting: usize,
    pub(super) connected: bool,
    pub(super) to_guest: VecDeque<u8>,
    pub(super) from_guest: Vec<u8>,
    /// How much more is taken.
    pub(super) room: usize,
}

#[derive(Clone, Default)]
pub(super) struct End(Arc<Mutex<Line>>);

impl End {
    pub(super) fn get(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap()
    }

    fn connect(&self, room: usize) {
        let mut line = self.get();
        line.clients_waiting += 1;
        line.room = room;
    }

    fn hang_up(&self) {
        self.get().connected = false;
    }

    fn printed(&self) -> Vec<u8> {
        std::mem::take(&mut self.get().from_guest)
    }
}

impl SerialHost for End {
    fn connected(&mut self) -> bool {
        self.get().connected
    }

    fn accept(&mut self) {
        let mut line = self.get();
        if line.clients_waiting > 0 {
            line.clients_waiting -= 1;
            line.connected = true;
        }
    }

    fn read(&mut self, into: &mut [u8]) -> usize {
        let mut line = self.get();
        let count = into.len().min(line.to_guest.len());
        for (into, byte) in into.iter_mut().zip(line.to_guest.drain(..count)) {
            *into = byte;
        }
        count
    }

    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut line = self.get();
        if !line.connected {
            return bytes.len();
        }
        let count = bytes.len().min(line.room);
        line.room -= count;
        line.from_guest.extend(&bytes[..count]);
        count
    }
}

/// A board with two ports, `one` and `two`.
pub(super) struct Board {
    pub(super) ram: Arc<GuestRam>,
    pub(super) ends: [End; 2],
    pub(super) device: Arc<VirtioSerial>,
    pub(super) wakes: Arc<Wakes>,
    pub(super) function: Arc<VirtioPci>,
    pub(super) bus: Arc<Bus>,
}

pub(super) fn board() -> Board {
    let ends: [End; 2] = Default::default();
    let hosts = ends.clone().map(|end| Box::new(end) as Box<dyn SerialHost>);
    let names = ["one", "two"].map(str::to_owned);
    let wakes = Arc::new(Wakes::default());
    let ports = names.into_iter().zip(hosts).collect();
    let device = VirtioSerial::new(ports, wakes.clone());
    let PluggedIn {
        ram, function, bus, ..
    } = plug_in(device.clone());
    Board {
        ram,
        ends,
        device,
        wakes,
        function,
        bus,
    }
}

/// What the device said: port, event, value, and what comes behind.
type Said = (u32, u16, u16, Vec<u8>);

/// The driver's side: rings of 16, those of the queues from 2 on.
pub(super) struct Guest<'a> {
    pub(super) board: &'a Board,
    pub(super) driver: Driver<'a>,
    pub(super) rings: Vec<Ring<'a>>,
}

fn buffer(queue: usize, index: u16) -> u64 {
    BUFFERS + 0x1_0000 * queue as u64 + 0x400 * u64::from(index)
}

impl<'a> Guest<'a> {
    pub(super) fn start(board: &'a Board, features: u64) -> Self {
        let driver = Driver::attach(&board.bus);
        driver.negotiate(features);
        let rings = (0..8).map(|queue| {
            let base = RAM + 0x1_0000 * (queue / 2) + 0x1000 * (queue % 2);
            Ring::new(&board.ram, base, 16, features)
        });
        let rings: Vec<_> = rings.collect();
        for (index, ring) in (2..).zip(&rings[2..]) {
            driver.enable(index, ring);
        }
        driver.set_status(ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
        let mut guest = Guest {
            board,
            driver,
            rings,
        };
        for index in 0..16 {
            guest.offer(CONTROL_RECEIVE, index, 64, WRITE);
        }
        guest
    }

    /// One that has its ports, both open in the guest.
    fn ready(board: &'a Board, features: u64) -> Self {
        let mut guest = Self::start(board, features);
        guest.say(0, DEVICE_READY, 1);
        for port in [1, 2] {
            guest.say(port, PORT_READY, 1);
            guest.say(port, PORT_OPEN, 1);
        }
        guest.hear();
        guest
    }

    pub(super) fn offer(&mut self, queue: usize, index: u16, length: u32, flags: u16) {
        let at = buffer(queue, index);
        self.rings[queue].describe(index, (at, length, flags, 0));
        self.rings[queue].offer(index);
    }

    fn say(&mut self, port: u32, event: u16, value: u16) {
        let mut bytes = port.to_le_bytes().to_vec();
        bytes.extend(event.to_le_bytes());
        bytes.extend(value.to_le_bytes());
        poke(&self.board.ram, buffer(CONTROL_TRANSMIT, 0), &bytes);
        self.offer(CONTROL_TRANSMIT, 0, 8, 0);
        self.driver.notify(CONTROL_TRANSMIT as u16);
        while self.board.device.process() {}
        assert_eq!(self.rings[CONTROL_TRANSMIT].take(), Some((0, 0)));
    }

    /// What the device has said, once it has worked.
    fn hear(&mut self) -> Vec<Said> {
        let mut all = Vec::new();
        while self.board.device.process() {}
        while let Some((head, length)) = self.rings[CONTROL_RECEIVE].take() {
            let at = buffer(CONTROL_RECEIVE, head as u16);
            let bytes = peek(&self.board.ram, at, length as usize);
            let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
            let port = u32::from(word(0)) | u32::from(word(2)) << 16;
            all.push((port, word(4), word(6), bytes[8..].to_vec()));
            self.rings[CONTROL_RECEIVE].offer(head as u16);
        }
        all
    }

    /// Offers `bytes` as one buffer of port `port`.
    fn print(&mut self, port: usize, index: u16, bytes: &[u8]) {
        let queue = 3 + 2 * port;
        poke(&self.board.ram, buffer(queue, index), bytes);
        self.offer(queue, index, bytes.len() as u32, 0);
        self.driver.notify(queue as u16);
        while self.board.device.process() {}
    }

    fn printed(&mut self, port: usize) -> Option<(u32, u32)> {
        self.rings[3 + 2 * port].take()
    }

    /// What came in for port `port`, buffer by buffer.
    fn typed(&mut self, port: usize) -> Vec<Vec<u8>> {
        let queue = 2 + 2 * port;
        let mut all = Vec::new();
        while self.board.device.process() {}
        while let Some((head, length)) = self.rings[queue].take() {
            let at = buffer(queue, head as u16);
            all.push(peek(&self.board.ram, at, length as usize));
        }
        all
    }
}

const FEATURES: u64 = VERSION_1 | MULTIPORT;

#[test]
fn ports_are_introduced_as_the_driver_is_ready_for_them() {
    let board = board();
    let mut guest = Guest::start(&board, FEATURES);
    assert_eq!(guest.driver.device_features() & 0xff, MULTIPORT);
    assert_eq!(read(&board.bus, guest.driver.address(4, 4), 4), 3);
    assert_eq!(guest.hear(), []);
    guest.say(0, DEVICE_READY, 1);
    let add = |port| (port, DEVICE_ADD, 1, vec![]);
    assert_eq!(guest.hear(), [add(1), add(2)]);
    guest.say(2, PORT_READY, 1);
    assert_eq!(guest.hear(), [(2, PORT_NAME, 1, b"two".to_vec())]);
    board.ends[0].connect(0);
    guest.say(1, PORT_READY, 1);
    let open = |value| (1, PORT_OPEN, value, vec![]);
    assert_eq!(guest.hear(), [(1, PORT_NAME, 1, b"one".to_vec()), open(1)]);
    board.ends[0].hang_up();
    board.ends[0].connect(0);
    assert_eq!(guest.hear(), [open(0), open(1)]);
    assert_eq!(guest.hear(), []);
}

#[test]
fn notifications_wake_the_thread_and_touch_nothing() {
    let board = board();
    let mut guest = Guest::ready(&board, FEATURES);
    let before = board.wakes.count();
    guest.offer(5, 0, 9, 0);
    guest.driver.notify(5);
    assert_eq!(board.wakes.count(), before + 1);
    assert_eq!(guest.printed(1), None);
}

#[test]
fn bytes_go_both_ways_and_stay_in_their_port() {
    let board = board();
    let mut guest = Guest::ready(&board, FEATURES);
    for end in &board.ends {
        end.connect(1000);
    }
    assert_eq!(guest.hear().len(), 2);
    guest.print(1, 0, b"to one");
    guest.print(2, 3, b"\0\xff to two");
    assert_eq!(guest.printed(1), Some((0, 0)));
    assert_eq!(guest.printed(2), Some((3, 0)));
    assert_eq!(board.ends[0].printed(), b"to one");
    assert_eq!(board.ends[1].printed(), b"\0\xff to two");

    board.ends[1].get().to_guest.extend(b"\r\n\0\x04back");
    assert!(guest.typed(2).is_empty());
    guest.offer(6, 0, 3, WRITE);
    guest.offer(6, 1, 0, WRITE);
    guest.offer(6, 2, 64, WRITE);
    assert_eq!(guest.typed(2), [b"\r\n\0" as &[u8], b"", b"\x04back"]);
    assert!(guest.typed(1).is_empty());
}

#[test]
fn nothing_comes_in_before_the_guest_has_opened_the_port() {
    let board = board();
    let mut guest = Guest::ready(&board, FEATURES);
    guest.say(1, PORT_OPEN, 0);
    guest.offer(4, 0, 64, WRITE);
    board.ends[0].connect(0);
    board.ends[0].get().to_guest.extend(b"early");
    assert!(guest.typed(1).is_empty());
    guest.say(1, PORT_OPEN, 1);
    assert_eq!(guest.typed(1), [b"early"]);
}

#[test]
fn a_buffer_waits_until_the_host_has_room_and_is_lost_with_nobody_there() {
    for features in [FEATURES, FEATURES | EVENT_INDEX] {
        let board = board();
        let mut guest = Guest::ready(&board, features);
        board.ends[0].connect(4);
        guest.print(1, 0, b"0123456789");
        guest.print(1, 1, b"ab");
        assert_eq!(guest.printed(1), None);
        assert_eq!(board.ends[0].printed(), b"0123");
        board.ends[0].get().room = 7;
        while board.device.process() {}
        assert_eq!(guest.printed(1), Some((0, 0)));
        assert_eq!(guest.printed(1), None);
        assert_eq!(board.ends[0].printed(), b"456789a");
        board.ends[0].hang_up();
        while board.device.process() {}
        assert_eq!(guest.printed(1), Some((1, 0)));
        // The next client hears nothing of it.
        board.ends[0].connect(100);
        guest.print(1, 2, b"new");
        assert_eq!(board.ends[0].printed(), b"new");
    }
}

#[test]
fn long_buffers_go_in_pieces() {
    let board = board();
    let mut guest = Guest::ready(&board, FEATURES);
    board.ends[0].connect(usize::MAX);
    let length = RAM_SIZE as u32 / 2;
    poke(&board.ram, RAM + RAM_SIZE / 2, &[0x5a; 0x8_0000]);
    guest.rings[5].describe(7, (RAM + RAM_SIZE / 2, length, 0, 0));
    guest.rings[5].offer(7);
    while board.device.process() {}
    assert_eq!(guest.printed(1), Some((7, 0)));
    assert_eq!(board.ends[0].printed(), vec![0x5a; length as usize]);
}

#[test]
fn a_reset_forgets_the_driver_and_keeps_the_client() {
    let board = board();
    let mut guest = Guest::ready(&board, FEATURES);
    board.ends[0].connect(2);
    guest.print(1, 0, b"half");
    assert_eq!(board.ends[0].printed(), b"ha");
    guest.driver.set_status(0);
    let fresh = |name: &str| crate::virtio::serial::PortState {
        name: name.to_owned(),
        ..Default::default()
    };
    let ports = vec![fresh("one"), fresh("two")];
    assert_eq!(board.device.save(), SerialState { ports });
    assert!(board.ends[0].get().connected);
    poke(&board.ram, RAM, &[0; 0x4_0000]);
    board.ends[0].get().room = 100;
    let mut guest = Guest::ready(&board, FEATURES);
    guest.print(1, 0, b"whole");
    assert_eq!(board.ends[0].printed(), b"whole");
}

#[test]
fn a_restored_device_goes_on_and_tells_of_the_hang_up() {
    let source = board();
    let mut guest = Guest::ready(&source, FEATURES);
    source.ends[0].connect(4);
    guest.hear();
    guest.print(1, 0, b"0123456789");
    assert_eq!(source.ends[0].printed(), b"0123");

    let target = board();
    poke(&target.ram, RAM, &peek(&source.ram, RAM, RAM_SIZE as usize));
    target.function.restore(&source.function.save()).unwrap();
    let text = serde_json::to_string(&source.device.save()).unwrap();
    let state: SerialState = serde_json::from_str(&text).unwrap();
    target.device.restore(&state).unwrap();
    assert_eq!(target.device.save(), source.device.save());
    let rings = guest.rings.iter().map(|ring| ring.moved(&target.ram));
    let mut guest = Guest {
        board: &target,
        driver: Driver {
            bus: &target.bus,
            structures: guest.driver.structures,
        },
        rings: rings.collect(),
    };
    target.ends[0].connect(100);
    target.ends[0].clone().accept();
    while target.device.process() {}
    // The rest of the buffer, and nothing twice.
    assert_eq!(target.ends[0].printed(), b"456789");
    assert_eq!(guest.printed(1), Some((0, 0)));
    target.ends[0].hang_up();
    assert_eq!(guest.hear(), [(1, PORT_OPEN, 0, vec![])]);

    let mut other = state.clone();
    other.ports[1].name = "three".to_owned();
    let error = target.device.restore(&other).unwrap_err().to_string();
    assert!(error.contains("three"), "{error}");
    other.ports.pop();
    assert!(target.device.restore(&other).is_err());
}

#[test]
fn a_driver_that_knows_no_ports_gets_none() {
    let board = board();
    let mut guest = Guest::start(&board, VERSION_1);
    guest.offer(CONTROL_TRANSMIT, 0, 8, 0);
    guest.driver.notify(CONTROL_TRANSMIT as u16);
    assert_eq!(guest.hear(), []);
    assert_eq!(guest.rings[CONTROL_TRANSMIT].take(), None);
}

#[test]
fn there_are_no_more_ports_than_a_device_has() {
    let port = |_| {
        (
            "x".to_owned(),
            Box::new(End::default()) as Box<dyn SerialHost>,
        )
    };
    let device = VirtioSerial::new((0..40).map(port).collect(), Arc::new(Wakes::default()));
    assert_eq!(device.save().ports.len(), PORTS_MAX);
}
