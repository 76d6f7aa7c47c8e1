//! The file system device (section 5.11).

use std::sync::{Arc, Mutex};

use clade_engine::GuestRam;
use vm_memory::{Bytes, GuestAddress};

use super::driver::*;
use super::{PluggedIn, Wakes, plug_in};
use crate::Bus;
use crate::virtio::fs::{FsBackend, FsState, TAG_MAX};
use crate::virtio::{GuestSlice, VirtioFs, Waker};

/// Answers with what it was asked, twice.
#[derive(Clone, Default)]
struct Echo {
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
    resets: Arc<Wakes>,
}

impl FsBackend for Echo {
    fn serve(&mut self, request: &[GuestSlice<'_>], reply: &[GuestSlice<'_>]) -> usize {
        let mut bytes = Vec::new();
        for piece in request {
            let mut copy = vec![0; piece.len()];
            piece.copy_to(&mut copy[..]);
            bytes.extend(copy);
        }
        let mut written = 0;
        for (piece, bytes) in reply.iter().zip([&bytes, &bytes]) {
            piece.copy_from(&bytes[..]);
            written += bytes.len().min(piece.len());
        }
        self.requests.lock().unwrap().push(bytes);
        written
    }

    fn reset(&mut self) {
        self.resets.wake();
    }
}

struct Board {
    ram: Arc<GuestRam>,
    device: Arc<VirtioFs>,
    echo: Echo,
    woken: Arc<Wakes>,
    bus: Arc<Bus>,
}

fn board(tag: &str) -> Board {
    let echo = Echo::default();
    let woken = Arc::new(Wakes::default());
    let device = VirtioFs::new(tag, Box::new(echo.clone()), woken.clone());
    let PluggedIn { ram, bus, .. } = plug_in(device.clone());
    Board {
        ram,
        device,
        echo,
        woken,
        bus,
    }
}

/// Offers a request with room for an answer in two pieces, as descriptors from `head` on.
fn ask(ring: &mut Ring<'_>, head: u16, request: &[u8]) {
    let at = BUFFERS + 0x1000 * u64::from(head);
    ring.ram.write_slice(request, GuestAddress(at)).unwrap();
    ring.describe(head, (at, request.len() as u32, NEXT, head + 1));
    ring.describe(head + 1, (at + 0x100, 4, NEXT | WRITE, head + 2));
    ring.describe(head + 2, (at + 0x200, 100, WRITE, 0));
    ring.offer(head);
}

#[test]
fn the_configuration_names_the_tag_and_one_request_queue() {
    let long = "ä".repeat(30);
    for (tag, shown) in [("share0", "share0"), (&long, &long[..TAG_MAX])] {
        let board = board(tag);
        let driver = Driver::attach(&board.bus);
        let byte = |at| read(&board.bus, driver.address(4, at), 1) as u8;
        let config: Vec<u8> = (0..44).map(byte).collect();
        assert_eq!(&config[..shown.len()], shown.as_bytes());
        assert!(config[shown.len()..TAG_MAX].iter().all(|&byte| byte == 0));
        assert_eq!(config[TAG_MAX..], [1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(read(&board.bus, config_of_queues(&driver), 2), 2);
        let saved = board.device.save();
        assert_eq!(saved.tag, shown);
        board.device.restore(&saved).unwrap();
        let other = FsState {
            tag: "other".into(),
        };
        board.device.restore(&other).unwrap_err();
    }
}

fn config_of_queues(driver: &Driver<'_>) -> u64 {
    driver.address(1, 0x12)
}

#[test]
fn requests_are_served_on_the_hosts_thread_and_only_there() {
    let board = board("share0");
    let driver = Driver::attach(&board.bus);
    let [mut urgent, mut requests] = driver.start(&board.ram, VERSION_1);
    while board.device.process() {}
    let woken = board.woken.count();
    ask(&mut requests, 0, b"lookup");
    ask(&mut requests, 3, b"read");
    ask(&mut urgent, 6, b"forget");
    driver.notify(1);
    assert_eq!(board.woken.count(), woken + 1);
    assert!(requests.take().is_none() && board.echo.requests.lock().unwrap().is_empty());
    while board.device.process() {}
    assert_eq!(requests.take(), Some((0, 4 + 6)));
    assert_eq!(requests.take(), Some((3, 4 + 4)));
    assert_eq!(urgent.take(), Some((6, 4 + 6)));
    let served = board.echo.requests.lock().unwrap().clone();
    assert_eq!(served[0], b"forget", "first what must not wait");
    let mut answer = [0; 4];
    let at = GuestAddress(BUFFERS + 0x200);
    board.ram.read_slice(&mut answer, at).unwrap();
    assert_eq!(&answer, b"look");
}

#[test]
fn a_reset_reaches_the_backend_and_a_bad_request_does_not() {
    let board = board("share0");
    let driver = Driver::attach(&board.bus);
    let [_, mut requests] = driver.start(&board.ram, VERSION_1);
    let resets = board.echo.resets.count();
    requests.describe(0, (0x1000, 40, 0, 0));
    requests.offer(0);
    driver.notify(1);
    while board.device.process() {}
    assert_ne!(driver.status() & NEEDS_RESET, 0);
    assert!(board.echo.requests.lock().unwrap().is_empty());
    driver.set_status(0);
    assert_eq!(board.echo.resets.count(), resets + 1);
    assert!(!board.device.process(), "nothing to do without a driver");
}
