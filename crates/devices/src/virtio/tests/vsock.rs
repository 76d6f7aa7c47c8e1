//! The socket device through the whole path.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

use clade_engine::GuestRam;
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::driver::{BUFFERS, Driver, NEEDS_RESET, NEXT, Ring, VERSION_1, WRITE, read};
use super::{PluggedIn, RAM, Wakes, plug_in};
use crate::Bus;
use crate::virtio::VirtioVsock;
use crate::virtio::vsock::{VsockHost, VsockStream};

const CID: u32 = 77;
const HEADER: usize = 44;
/// Bytes of each buffer that the driver offers for receiving.
const ROOM: u32 = 1024;

const REQUEST: u16 = 1;
const RESPONSE: u16 = 2;
const RESET: u16 = 3;
const SHUTDOWN: u16 = 4;
const DATA: u16 = 5;
const CREDIT_UPDATE: u16 = 6;
const CREDIT_REQUEST: u16 = 7;

/// A stream whose other side is the test.
#[derive(Default)]
struct Pipe {
    to_guest: VecDeque<u8>,
    eof: bool,
    from_guest: Vec<u8>,
    /// How much the other side still takes.
    room: usize,
    accepted: Option<u32>,
    finished: bool,
    closed: bool,
    dropped: bool,
}

#[derive(Clone, Default)]
struct End(Arc<Mutex<Pipe>>);

impl End {
    fn get(&self) -> MutexGuard<'_, Pipe> {
        self.0.lock().unwrap()
    }

    fn with_room(room: usize) -> Self {
        let end = Self::default();
        end.get().room = room;
        end
    }
}

struct Stream(End);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.get().dropped = true;
    }
}

impl VsockStream for Stream {
    fn accepted(&mut self, port: u32) {
        self.0.get().accepted = Some(port);
    }

    fn readable(&self) -> bool {
        let pipe = self.0.get();
        pipe.eof || !pipe.to_guest.is_empty()
    }

    fn closed(&self) -> bool {
        self.0.get().closed
    }

    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut pipe = self.0.get();
        if pipe.to_guest.is_empty() && !pipe.eof {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = into.len().min(pipe.to_guest.len());
        for (into, byte) in into.iter_mut().zip(pipe.to_guest.drain(..count)) {
            *into = byte;
        }
        Ok(count)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pipe = self.0.get();
        if pipe.closed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if pipe.room == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let count = bytes.len().min(pipe.room);
        pipe.room -= count;
        pipe.from_guest.extend(&bytes[..count]);
        Ok(count)
    }

    fn finish(&mut self) {
        self.0.get().finished = true;
    }
}

/// A host with one port, 1000, to which the test holds the other side of every connection.
#[derive(Default)]
struct Host(Mutex<Vec<End>>);

impl VsockHost for Host {
    fn connect(&self, port: u32) -> Option<Box<dyn VsockStream>> {
        (port == 1000).then(|| {
            let end = End::with_room(usize::MAX);
            self.0.lock().unwrap().push(end.clone());
            Box::new(Stream(end)) as Box<dyn VsockStream>
        })
    }
}

struct Board {
    ram: Arc<GuestRam>,
    host: Arc<Host>,
    device: Arc<VirtioVsock>,
    bus: Arc<Bus>,
}

fn board() -> Board {
    let host = Arc::new(Host::default());
    let device = VirtioVsock::new(CID, host.clone(), Arc::new(Wakes::default()));
    let PluggedIn { ram, bus, .. } = plug_in(device.clone());
    Board {
        ram,
        host,
        device,
        bus,
    }
}

/// A packet as the driver sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Packet {
    source: (u64, u32),
    target: (u64, u32),
    kind: u16,
    op: u16,
    flags: u32,
    room: u32,
    forwarded: u32,
    payload: Vec<u8>,
}

/// What the guest's port 5 says to the host's port 1000, or another.
fn from_guest(op: u16, host_port: u32) -> Packet {
    Packet {
        source: (u64::from(CID), 5),
        target: (2, host_port),
        kind: 1,
        op,
        flags: 0,
        room: 4096,
        forwarded: 0,
        payload: Vec::new(),
    }
}

impl Packet {
    fn with(self, payload: &[u8]) -> Self {
        Packet {
            payload: payload.to_vec(),
            ..self
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.source.0.to_le_bytes());
        bytes.extend(self.target.0.to_le_bytes());
        bytes.extend(self.source.1.to_le_bytes());
        bytes.extend(self.target.1.to_le_bytes());
        bytes.extend((self.payload.len() as u32).to_le_bytes());
        bytes.extend(self.kind.to_le_bytes());
        bytes.extend(self.op.to_le_bytes());
        bytes.extend(self.flags.to_le_bytes());
        bytes.extend(self.room.to_le_bytes());
        bytes.extend(self.forwarded.to_le_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    fn parse(bytes: &[u8]) -> Self {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        assert_eq!(word(24) as usize, bytes.len() - HEADER);
        Packet {
            source: (long(0), word(16)),
            target: (long(8), word(20)),
            kind: word(28) as u16,
            op: (word(28) >> 16) as u16,
            flags: word(32),
            room: word(36),
            forwarded: word(40),
            payload: bytes[HEADER..].to_vec(),
        }
    }
}

/// The guest: a driver that has offered some buffers.
struct Guest<'a> {
    board: &'a Board,
    driver: Driver<'a>,
    receive: Ring<'a>,
    transmit: Ring<'a>,
}

impl<'a> Guest<'a> {
    fn start(board: &'a Board, buffers: u16) -> Self {
        // Where the rings will be: there may have been a driver before.
        let nothing = [0; 0x3_0000];
        board.ram.write_slice(&nothing, GuestAddress(RAM)).unwrap();
        let driver = Driver::attach(&board.bus);
        let [receive, transmit] = driver.start(&board.ram, VERSION_1);
        let mut guest = Guest {
            board,
            driver,
            receive,
            transmit,
        };
        (0..buffers).for_each(|index| guest.offer(index));
        guest
    }

    fn offer(&mut self, index: u16) {
        let at = BUFFERS + 0x1_0000 + u64::from(index) * u64::from(ROOM);
        self.receive.describe(index, (at, ROOM, WRITE, 0));
        self.receive.offer(index);
    }

    fn send_bytes(&mut self, bytes: &[u8]) {
        let (header, payload) = bytes.split_at(bytes.len().min(HEADER));
        self.board
            .ram
            .write_slice(header, GuestAddress(BUFFERS))
            .unwrap();
        let at = BUFFERS + 0x100;
        self.board
            .ram
            .write_slice(payload, GuestAddress(at))
            .unwrap();
        let flags = if payload.is_empty() { 0 } else { NEXT };
        self.transmit
            .describe(0, (BUFFERS, header.len() as u32, flags, 1));
        self.transmit.describe(1, (at, payload.len() as u32, 0, 0));
        self.transmit.offer(0);
        self.driver.notify(1);
        self.board.device.process();
        while self.transmit.take().is_some() {}
    }

    fn send(&mut self, packet: &Packet) {
        self.send_bytes(&packet.bytes());
    }

    /// What the guest has been sent; its buffers are offered again.
    fn received(&mut self) -> Vec<Packet> {
        self.board.device.process();
        let mut packets = Vec::new();
        while let Some((index, length)) = self.receive.take() {
            let at = BUFFERS + 0x1_0000 + u64::from(index) * u64::from(ROOM);
            let mut bytes = vec![0; length as usize];
            self.board
                .ram
                .read_slice(&mut bytes, GuestAddress(at))
                .unwrap();
            packets.push(Packet::parse(&bytes));
            self.offer(index as u16);
        }
        packets
    }

    fn ops(&mut self) -> Vec<u16> {
        self.received().iter().map(|packet| packet.op).collect()
    }

    /// A connection of the guest's to the host's port 1000.
    fn connect(&mut self) -> End {
        self.send(&from_guest(REQUEST, 1000));
        assert_eq!(self.ops(), [RESPONSE]);
        self.board.host.0.lock().unwrap().last().unwrap().clone()
    }
}

#[test]
fn the_guest_learns_its_address() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    assert_eq!(read(&board.bus, driver.address(4, 0), 4), u64::from(CID));
    assert_eq!(read(&board.bus, driver.address(4, 4), 4), 0);
}

#[test]
fn the_host_connects_and_bytes_go_both_ways() {
    let board = board();
    let mut guest = Guest::start(&board, 4);
    let end = End::with_room(usize::MAX);
    board.device.connect(22, Box::new(Stream(end.clone())));
    let [request] = &guest.received()[..] else {
        panic!("one request");
    };
    assert_eq!((request.op, request.kind), (REQUEST, 1));
    assert_eq!(
        (request.source.0, request.target),
        (2, (u64::from(CID), 22))
    );
    let port = request.source.1;
    let answer = |op| Packet {
        source: (u64::from(CID), 22),
        ..from_guest(op, port)
    };
    assert_eq!(end.get().accepted, None);
    guest.send(&answer(RESPONSE));
    assert_eq!(end.get().accepted, Some(port));
    end.get().to_guest.extend(b"to the guest");
    let data = guest.received();
    assert_eq!(
        (data[0].op, &data[0].payload[..]),
        (DATA, &b"to the guest"[..])
    );
    guest.send(&answer(DATA).with(b"to the host"));
    assert_eq!(end.get().from_guest, b"to the host");
    // Each side ends what it says, and the connection is over when both have.
    end.get().eof = true;
    let ended = guest.received();
    assert_eq!((ended[0].op, ended[0].flags), (SHUTDOWN, 2));
    guest.send(&Packet {
        flags: 2,
        ..answer(SHUTDOWN)
    });
    assert!(end.get().finished && !end.get().dropped);
    guest.send(&Packet {
        flags: 3,
        ..answer(SHUTDOWN)
    });
    assert_eq!(guest.ops(), [RESET]);
    assert!(end.get().dropped);
}

#[test]
fn a_connection_that_the_guest_refuses_closes() {
    let board = board();
    let mut guest = Guest::start(&board, 4);
    let end = End::default();
    board.device.connect(23, Box::new(Stream(end.clone())));
    let port = guest.received()[0].source.1;
    guest.send(&Packet {
        source: (u64::from(CID), 23),
        ..from_guest(RESET, port)
    });
    assert!(end.get().dropped && end.get().accepted.is_none());
    assert!(guest.ops().is_empty());
}

#[test]
fn a_host_that_gives_up_takes_its_request_back() {
    let board = board();
    let mut guest = Guest::start(&board, 4);
    let end = End::default();
    board.device.connect(23, Box::new(Stream(end.clone())));
    assert_eq!(guest.ops(), [REQUEST]);
    end.get().closed = true;
    assert_eq!(guest.ops(), [RESET]);
    assert!(end.get().dropped);
}

#[test]
fn without_a_driver_nobody_connects() {
    let board = board();
    let end = End::default();
    board.device.connect(22, Box::new(Stream(end.clone())));
    assert!(end.get().dropped);
}

#[test]
fn what_leads_nowhere_is_refused() {
    let board = board();
    let mut guest = Guest::start(&board, 8);
    for op in [
        REQUEST,
        RESPONSE,
        SHUTDOWN,
        DATA,
        CREDIT_UPDATE,
        CREDIT_REQUEST,
        99,
    ] {
        guest.send(&from_guest(op, 4));
        let refused = guest.received();
        assert_eq!(refused.len(), 1, "{op}");
        assert_eq!(
            (refused[0].op, refused[0].source, refused[0].target.1),
            (RESET, (2, 4), 5)
        );
    }
    // Answering a refusal would go on for ever.
    guest.send(&from_guest(RESET, 4));
    // Another kind of socket.
    guest.send(&Packet {
        kind: 2,
        ..from_guest(REQUEST, 1000)
    });
    assert_eq!(guest.ops(), [RESET]);
    // From somebody else, or to somebody else.
    guest.send(&Packet {
        source: (3, 5),
        ..from_guest(REQUEST, 1000)
    });
    guest.send(&Packet {
        target: (1, 1000),
        ..from_guest(REQUEST, 1000)
    });
    assert!(guest.ops().is_empty());
    assert!(board.host.0.lock().unwrap().is_empty());
}

#[test]
fn neither_side_sends_more_than_the_other_has_room_for() {
    let board = board();
    let mut guest = Guest::start(&board, 4);
    let end = guest.connect();
    // The guest said that it has room for 4096 bytes.
    end.get().to_guest.extend(vec![1; 10_000]);
    let sent =
        |packets: Vec<Packet>| -> usize { packets.iter().map(|packet| packet.payload.len()).sum() };
    let mut total = 0;
    for _ in 0..20 {
        total += sent(guest.received());
    }
    assert_eq!(total, 4096);
    guest.send(&Packet {
        forwarded: 1000,
        ..from_guest(CREDIT_UPDATE, 1000)
    });
    for _ in 0..20 {
        total += sent(guest.received());
    }
    assert_eq!(total, 5096);
    // The other way: the host takes nothing, and what it said it has room for fills up.
    end.get().room = 0;
    guest.send(&from_guest(CREDIT_REQUEST, 1000));
    let room = guest.received()[0].room as usize;
    let piece = vec![2; 32 << 10];
    for _ in 0..room / piece.len() {
        guest.send(&from_guest(DATA, 1000).with(&piece));
        assert!(guest.ops().is_empty());
    }
    // It takes them at last, and the guest is told.
    end.get().room = room;
    let told = guest.received();
    assert_eq!(
        (told[0].op, told[0].forwarded as usize),
        (CREDIT_UPDATE, room)
    );
    assert_eq!(end.get().from_guest.len(), room);
    // A guest that sends more than that is cut off.
    for _ in 0..=room / piece.len() {
        guest.send(&from_guest(DATA, 1000).with(&piece));
    }
    assert_eq!(guest.ops(), [RESET]);
    assert!(end.get().dropped);
}

#[test]
fn what_the_guest_sent_before_it_went_reaches_the_host() {
    let board = board();
    let mut guest = Guest::start(&board, 4);
    let end = guest.connect();
    end.get().room = 3;
    guest.send(&from_guest(DATA, 1000).with(b"last words"));
    guest.send(&Packet {
        flags: 3,
        ..from_guest(SHUTDOWN, 1000)
    });
    assert!(guest.ops().is_empty());
    assert!(!end.get().finished && !end.get().dropped);
    end.get().room = 100;
    assert_eq!(guest.ops(), [RESET]);
    assert_eq!(end.get().from_guest, b"last words");
    assert!(end.get().finished && end.get().dropped);
}

#[test]
fn connections_die_with_their_driver() {
    let board = board();
    let mut guest = Guest::start(&board, 4);
    let end = guest.connect();
    guest.driver.set_status(0);
    assert!(end.get().dropped);
    // The next driver does not hear of them.
    let mut guest = Guest::start(&board, 4);
    assert!(guest.ops().is_empty());
    guest.connect();
}

#[test]
fn a_guest_that_gives_no_buffers_holds_up_itself() {
    let board = board();
    let mut guest = Guest::start(&board, 0);
    for _ in 0..2000 {
        guest.send(&from_guest(DATA, 4));
        if guest.transmit.outstanding() > 0 {
            break;
        }
    }
    // Its packets are not taken any more.
    assert!(guest.transmit.outstanding() > 0);
    (0..4).for_each(|index| guest.offer(index));
    let mut refused = 0;
    for _ in 0..200 {
        refused += guest.ops().len();
    }
    assert!((256..300).contains(&refused), "{refused}");
    guest.board.device.process();
    while guest.transmit.take().is_some() {}
    assert_eq!(guest.transmit.outstanding(), 0);
}

#[test]
fn impossible_packets_break_the_device() {
    let whole = from_guest(REQUEST, 1000).bytes();
    let mut lying = from_guest(DATA, 1000).with(b"short").bytes();
    lying[24] = 200;
    let mut huge = whole.clone();
    huge[24..28].fill(0xff);
    for bytes in [&whole[..43], &[], &lying, &huge] {
        let board = board();
        let mut guest = Guest::start(&board, 4);
        guest.send_bytes(bytes);
        assert_ne!(guest.driver.status() & NEEDS_RESET, 0, "{bytes:?}");
    }
    // A buffer without room for a header.
    let board = board();
    let mut guest = Guest::start(&board, 0);
    guest
        .receive
        .describe(0, (BUFFERS + 0x1_0000, 43, WRITE, 0));
    guest.receive.offer(0);
    guest.send(&from_guest(REQUEST, 1000));
    assert_ne!(guest.driver.status() & NEEDS_RESET, 0);
}

#[test]
fn a_guest_that_continues_elsewhere_is_told_that_its_connections_are_gone() {
    let board = board();
    let mut guest = Guest::start(&board, 4);
    let end = guest.connect();
    board.device.connect(22, Box::new(Stream(End::default())));
    let event = Ring::new(&board.ram, RAM + 0x2_0000, 16, 0);
    // As set up before it was saved.
    guest.driver.set_status(0);
    guest.driver.negotiate(VERSION_1);
    guest.driver.enable(2, &event);
    let receive = Ring::new(&board.ram, RAM + 0x3_0000, 16, 0);
    guest.driver.enable(0, &receive);
    guest.driver.set_status(1 | 2 | 4 | 8);
    let (mut event, mut receive) = (event, receive);
    receive.describe(0, (BUFFERS + 0x1_0000, ROOM, WRITE, 0));
    receive.offer(0);
    event.describe(0, (BUFFERS, 4, WRITE, 0));
    event.offer(0);
    board.ram.write_obj(7u32, GuestAddress(BUFFERS)).unwrap();
    let saved = board.device.save();
    assert_eq!((saved.guest_cid, saved.next_port), (CID, (1 << 30) + 1));
    let elsewhere = self::board().device.save();
    board.device.restore(&elsewhere);
    assert_eq!(board.device.save().next_port, 1 << 30);
    board.device.restore(&saved);
    assert!(board.device.save().transport_reset);
    board.device.process();
    assert_eq!(event.take(), Some((0, 4)));
    assert_eq!(board.ram.read_obj::<u32>(GuestAddress(BUFFERS)).unwrap(), 0);
    assert!(!board.device.save().transport_reset);
    assert!(end.get().dropped);

    // Who connects waits until the driver has done so, and comes from another port than before.
    let stream = Stream(End::default());
    board.device.connect(22, Box::new(stream));
    board.device.process();
    assert_eq!(receive.take(), None);
    event.offer(0);
    board.device.process();
    assert_eq!(receive.take(), Some((0, HEADER as u32)));
    let mut request = [0; HEADER];
    let at = GuestAddress(BUFFERS + 0x1_0000);
    board.ram.read_slice(&mut request, at).unwrap();
    assert_eq!(Packet::parse(&request).source.1, saved.next_port);
    assert_eq!(board.device.save().next_port, saved.next_port + 1);
}

#[derive(Debug, Clone)]
enum Step {
    Send(Packet),
    Bytes(Vec<u8>),
    Receive,
    Connect(u32),
    Host(usize, u8),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let port = || {
        prop_oneof![
            0u32..3,
            Just(1000),
            0x4000_0000u32..0x4000_0003,
            any::<u32>()
        ]
    };
    let packet = (
        (port(), port(), 0u16..9, 0u32..5),
        (any::<u32>(), any::<u32>(), 0usize..3000),
    );
    let packet =
        packet.prop_map(
            |((source, target, op, flags), (room, forwarded, length))| Packet {
                source: (u64::from(CID), source),
                target: (2, target),
                kind: 1,
                op,
                flags,
                room,
                forwarded,
                payload: vec![3; length],
            },
        );
    prop_oneof![
        8 => packet.prop_map(Step::Send),
        1 => prop::collection::vec(any::<u8>(), 0..100).prop_map(Step::Bytes),
        4 => Just(Step::Receive),
        2 => port().prop_map(Step::Connect),
        3 => (0usize..4, any::<u8>()).prop_map(|(which, what)| Step::Host(which, what)),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Nothing panics or hangs, and no end is lost or kept for ever.
    #[test]
    fn whatever_both_sides_do_is_survived(steps in prop::collection::vec(step(), 1..60)) {
        let board = board();
        let mut guest = Guest::start(&board, 8);
        let mut ends: Vec<End> = Vec::new();
        for step in steps {
            match step {
                Step::Send(packet) => guest.send(&packet),
                Step::Bytes(bytes) => guest.send_bytes(&bytes),
                Step::Receive => drop(guest.received()),
                Step::Connect(port) => {
                    let end = End::with_room(100);
                    board.device.connect(port, Box::new(Stream(end.clone())));
                    ends.push(end);
                }
                Step::Host(which, what) => {
                    ends.extend(board.host.0.lock().unwrap().drain(..));
                    if let Some(end) = ends.iter().rev().nth(which) {
                        let mut pipe = end.get();
                        match what % 4 {
                            0 => pipe.eof = true,
                            1 => pipe.closed = true,
                            2 => pipe.room = usize::from(what) * 100,
                            _ => pipe.to_guest.extend(vec![what; 5000]),
                        }
                    }
                }
                Step::Restart => {
                    guest.driver.set_status(0);
                    guest = Guest::start(&board, 8);
                }
            }
        }
        ends.extend(board.host.0.lock().unwrap().drain(..));
        guest.driver.set_status(0);
        prop_assert!(ends.iter().all(|end| end.get().dropped));
    }
}
