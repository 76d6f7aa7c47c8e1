//! The network device through the whole path.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clade_engine::GuestRam;
use proptest::prelude::*;
use vm_memory::{Bytes, GuestAddress};

use super::driver::{
    BUFFERS, Driver, EVENT_INDEX, NEEDS_RESET, NEXT, Ring, VERSION_1, WRITE, read,
};
use super::{PluggedIn, RAM, Wakes, plug_in};
use crate::Bus;
use crate::virtio::{NetBackend, NetOffloads, VirtioNet};

const CSUM: u64 = 1;
const GUEST_CSUM: u64 = 1 << 1;
const MAC: u64 = 1 << 5;
const GUEST_TSO4: u64 = 1 << 7;
const MERGE: u64 = 1 << 15;

const ADDRESS: [u8; 6] = [2, 1, 2, 3, 4, 5];

#[derive(Default)]
struct Cable {
    sent: Vec<Vec<u8>>,
    waiting: VecDeque<Vec<u8>>,
    started: Option<NetOffloads>,
}

impl NetBackend for Cable {
    fn start(&mut self, offloads: NetOffloads) {
        self.started = Some(offloads);
    }

    fn send(&mut self, packet: &mut [u8]) {
        self.sent.push(packet.to_vec());
    }

    fn receive(&mut self, packet: &mut Vec<u8>) -> bool {
        self.waiting.pop_front().is_some_and(|next| {
            *packet = next;
            true
        })
    }
}

struct Board {
    ram: Arc<GuestRam>,
    wakes: Arc<Wakes>,
    device: Arc<VirtioNet>,
    bus: Arc<Bus>,
}

fn board() -> Board {
    let wakes = Arc::new(Wakes::default());
    let device = VirtioNet::new(ADDRESS, wakes.clone());
    let PluggedIn { ram, bus, .. } = plug_in(device.clone());
    Board {
        ram,
        wakes,
        device,
        bus,
    }
}

/// Offers `count` buffers of `size` bytes to receive into.
fn offer(ring: &mut Ring<'_>, first: u16, count: u16, size: u32) {
    for index in first..first + count {
        let address = BUFFERS + 0x1000 * u64::from(index);
        ring.describe(index, (address, size, WRITE, 0));
        ring.offer(index);
    }
}

fn contents(ram: &GuestRam, index: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let address = GuestAddress(BUFFERS + 0x1000 * index);
    ram.read_slice(&mut bytes, address).unwrap();
    bytes
}

fn packet(length: usize) -> Vec<u8> {
    let mut packet = vec![0; 12];
    packet.extend((0..length).map(|at| at as u8));
    packet
}

#[test]
fn the_driver_finds_the_address_and_the_host_hears_of_the_driver() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    let mut cable = Cable::default();
    assert!(!board.device.process(&mut cable));
    assert_eq!(cable.started, None);
    driver.start(&board.ram, VERSION_1 | MAC | CSUM | GUEST_CSUM);
    let at = |offset| read(&board.bus, driver.address(4, offset), 1) as u8;
    assert_eq!([0, 1, 2, 3, 4, 5].map(at), ADDRESS);
    assert_eq!(at(6), 1, "the link is up");
    assert!(board.wakes.count() > 0);
    board.device.process(&mut cable);
    let offloads = NetOffloads {
        checksum: true,
        ..NetOffloads::default()
    };
    assert_eq!(cable.started, Some(offloads));
}

#[test]
fn packets_of_the_guest_go_out_on_the_devices_thread() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    let [_, mut ring] = driver.start(&board.ram, VERSION_1);
    let sent = packet(100);
    for (index, piece) in sent.chunks(40).enumerate() {
        let address = BUFFERS + 0x1000 * index as u64;
        board.ram.write_slice(piece, GuestAddress(address)).unwrap();
        let more = if index < 2 { NEXT } else { 0 };
        let index = index as u16;
        ring.describe(index, (address, piece.len() as u32, more, index + 1));
    }
    ring.offer(0);
    let before = board.wakes.count();
    driver.notify(1);
    assert_eq!(ring.take(), None);
    assert_eq!(board.wakes.count(), before + 1);
    let mut cable = Cable::default();
    assert!(board.device.process(&mut cable));
    assert_eq!(cable.sent, [sent]);
    assert_eq!(ring.take(), Some((0, 0)));
    assert!(!board.device.process(&mut cable));
}

#[test]
fn a_long_packet_is_spread_over_buffers_or_waits_until_there_are_enough() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    let features = VERSION_1 | MERGE | GUEST_CSUM | GUEST_TSO4 | EVENT_INDEX;
    let [mut ring, _] = driver.start(&board.ram, features);
    let mut cable = Cable::default();
    cable.waiting.push_back(packet(2500 - 12));
    offer(&mut ring, 0, 2, 1000);
    assert!(!board.device.process(&mut cable));
    assert_eq!(
        ring.take(),
        None,
        "two buffers are not enough, and neither is lost"
    );
    offer(&mut ring, 2, 2, 1000);
    assert!(board.device.process(&mut cable));
    let used: Vec<_> = std::iter::from_fn(|| ring.take()).collect();
    assert_eq!(used, [(0, 1000), (1, 1000), (2, 500)]);
    let mut expected = packet(2500 - 12);
    expected[10] = 3;
    let mut received = contents(&board.ram, 0, 1000);
    received.extend(contents(&board.ram, 1, 1000));
    received.extend(contents(&board.ram, 2, 500));
    assert_eq!(received, expected);
    cable.waiting.push_back(packet(10));
    assert!(board.device.process(&mut cable));
    assert_eq!(ring.take(), Some((3, 22)));
}

#[test]
fn a_driver_never_sees_a_part_of_a_packet() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    let [mut ring, _] = driver.start(&board.ram, VERSION_1 | MERGE | GUEST_TSO4);
    let pieces = ring.size;
    let used_index = GuestAddress(ring.used + 2);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut partial = None;
            while !done.load(Ordering::SeqCst) {
                let index: u16 = board.ram.load(used_index, Ordering::SeqCst).unwrap();
                partial = partial.or((!index.is_multiple_of(pieces)).then_some(index));
            }
            partial
        });
        let mut cable = Cable::default();
        for _ in 0..2000 {
            offer(&mut ring, 0, pieces, 16);
            cable
                .waiting
                .push_back(packet(16 * usize::from(pieces) - 12));
            assert!(board.device.process(&mut cable));
            let taken = std::iter::from_fn(|| ring.take()).count();
            assert_eq!(taken, usize::from(pieces));
        }
        done.store(true, Ordering::SeqCst);
        assert_eq!(watcher.join().expect("watcher"), None);
    });
}

#[test]
fn without_merging_a_packet_that_does_not_fit_is_dropped() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    let [mut ring, _] = driver.start(&board.ram, VERSION_1);
    let mut cable = Cable::default();
    offer(&mut ring, 0, 1, 1000);
    cable.waiting.extend([packet(1000), packet(20)]);
    board.device.process(&mut cable);
    assert_eq!(ring.take(), Some((0, 32)));
    assert_eq!(contents(&board.ram, 0, 32)[10], 1);
}

#[test]
fn a_driver_that_goes_takes_the_waiting_packet_with_it() {
    let board = board();
    let driver = Driver::attach(&board.bus);
    driver.start(&board.ram, VERSION_1);
    let mut cable = Cable::default();
    cable.waiting.push_back(packet(20));
    board.device.process(&mut cable);
    assert!(cable.waiting.is_empty());
    driver.set_status(0);
    assert!(!board.device.process(&mut cable));
    let [mut ring, _] = driver.start(&board.ram, VERSION_1);
    offer(&mut ring, 0, 1, 1000);
    board.device.process(&mut cable);
    assert_eq!(ring.take(), None);
}

proptest! {
    #[test]
    fn no_ring_breaks_the_device(
        rings in proptest::collection::vec(any::<u8>(), 0x200),
        chains in proptest::collection::vec(
            (prop_oneof![RAM..RAM + 0x2_0000, any::<u64>()], 0u32..70_000, 0u16..8, 0u16..20),
            1..16,
        ),
        heads in proptest::collection::vec(0u16..20, 1..40),
    ) {
        let board = board();
        let driver = Driver::attach(&board.bus);
        let mut both = driver.start(&board.ram, VERSION_1 | MERGE);
        board.ram.write_slice(&rings, GuestAddress(BUFFERS)).unwrap();
        for ring in &mut both {
            for (index, &descriptor) in (0..).zip(&chains) {
                ring.describe(index, descriptor);
            }
            for &head in &heads {
                ring.offer(head);
            }
        }
        let mut cable = Cable::default();
        cable.waiting.extend((0..20).map(|length| packet(length * 3000)));
        for _ in 0..100 {
            if !board.device.process(&mut cable) {
                break;
            }
        }
        for packet in &cable.sent {
            prop_assert!(packet.len() <= 12 + 18 + 65535);
        }
        let _ = driver.status() & NEEDS_RESET;
    }
}
