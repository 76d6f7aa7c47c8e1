//! Tests of the hub with a device and consumers made for them.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use clade_devices::{ConsoleHost, ConsolePort};

use super::outbox::OUTBOX_LIMIT;
use super::{ConsoleHub, INPUT_WINDOW, WindowExceeded};
use crate::control::{Event, FromMachine, TerminalSize};
use crate::outcome::Outcome;
use crate::stats::MachineStats;

/// Long enough for anything that is to happen.
const LONG: Duration = Duration::from_secs(10);

/// Long enough to see that something does not happen.
const SHORT: Duration = Duration::from_millis(50);

/// A device that takes as much input as it has room for.
struct Device {
    room: Mutex<usize>,
    taken: Mutex<Vec<u8>>,
    sizes: Mutex<Vec<(u16, u16)>>,
    news: Sender<()>,
}

impl Device {
    fn with_room(room: usize) -> (Arc<Self>, Receiver<()>) {
        let (news, receiver) = mpsc::channel();
        let device = Self {
            room: Mutex::new(room),
            taken: Mutex::default(),
            sizes: Mutex::default(),
            news,
        };
        (Arc::new(device), receiver)
    }

    fn taken(&self) -> Vec<u8> {
        self.taken.lock().expect("taken").clone()
    }
}

impl ConsolePort for Device {
    fn input(&self, bytes: &[u8]) -> usize {
        let mut room = self.room.lock().expect("room");
        let count = bytes.len().min(*room);
        *room -= count;
        self.taken.lock().expect("taken").extend(&bytes[..count]);
        let _ = self.news.send(());
        count
    }

    fn resize(&self, columns: u16, rows: u16) {
        self.sizes.lock().expect("sizes").push((columns, rows));
    }
}

/// What a consumer gets until `enough` says so.
fn collect(
    hub: &ConsoleHub,
    consumer: u64,
    enough: impl Fn(&[u8], &[Event]) -> bool,
) -> (Vec<u8>, Vec<Event>) {
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    while !enough(&bytes, &events) {
        let Some(messages) = hub.next_messages(consumer) else {
            break;
        };
        for message in messages {
            match message {
                FromMachine::Output(piece) => bytes.extend(piece),
                FromMachine::Event(event) => events.push(event),
            }
        }
    }
    (bytes, events)
}

fn wait_until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LONG, "it never came");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn who_attaches_later_gets_what_was_printed_before() {
    let hub = ConsoleHub::new();
    hub.output(b"early ");
    let consumer = hub.join();
    hub.attach(consumer);
    hub.output(b"late");
    let (bytes, _) = collect(&hub, consumer, |bytes, _| bytes.len() >= 10);
    assert_eq!(bytes, b"early late");
}

#[test]
fn a_full_outbox_makes_the_guest_wait_and_nothing_is_lost() {
    let hub = ConsoleHub::new();
    let consumer = hub.join();
    hub.attach(consumer);
    let total = 3 * OUTBOX_LIMIT;
    let text: Vec<u8> = (0..total).map(|i| (i % 251) as u8).collect();
    let (done, is_done) = mpsc::channel();
    let guest = thread::spawn({
        let (hub, text) = (Arc::clone(&hub), text.clone());
        move || {
            text.chunks(1000).for_each(|piece| hub.output(piece));
            done.send(()).expect("the test waits");
        }
    });
    assert!(
        is_done.recv_timeout(SHORT).is_err(),
        "the guest did not wait"
    );
    let (bytes, _) = collect(&hub, consumer, |bytes, _| bytes.len() == total);
    assert!(bytes == text, "the output is not what was printed");
    guest.join().expect("guest");
}

/// Prints twice what an outbox holds in a thread of its own, and sees that it waits.
fn stuck_guest(hub: &Arc<ConsoleHub>) -> Receiver<()> {
    let (done, is_done) = mpsc::channel();
    let hub = Arc::clone(hub);
    thread::spawn(move || {
        for _ in 0..2 * OUTBOX_LIMIT / 1000 {
            hub.output(&[b'x'; 1000]);
        }
        let _ = done.send(());
    });
    assert!(
        is_done.recv_timeout(SHORT).is_err(),
        "the guest did not wait"
    );
    is_done
}

#[test]
fn a_guest_that_waits_goes_on_when_the_consumer_leaves_or_detaches() {
    for act in [ConsoleHub::leave, ConsoleHub::close] {
        let hub = ConsoleHub::new();
        let consumer = hub.join();
        hub.attach(consumer);
        let is_done = stuck_guest(&hub);
        act(&hub, consumer);
        is_done.recv_timeout(LONG).expect("the guest goes on");
    }
}

#[test]
fn a_machine_that_is_stopped_waits_for_nobody() {
    let hub = ConsoleHub::new();
    let consumer = hub.join();
    hub.attach(consumer);
    let is_done = stuck_guest(&hub);
    hub.release();
    is_done.recv_timeout(LONG).expect("the guest goes on");
    hub.finish(&Outcome::Stopped, MachineStats::default());
    hub.wait_drained(SHORT);
}

#[test]
fn everything_arrives_before_the_end_and_the_end_is_last() {
    let hub = ConsoleHub::new();
    let consumer = hub.join();
    hub.attach(consumer);
    hub.output(b"bye");
    let stats = MachineStats {
        vcpu_time: LONG,
        ..MachineStats::default()
    };
    let end = [Event::Stats(stats), Event::Ended(Outcome::PowerOff)];
    hub.finish(&Outcome::PowerOff, stats);
    let drained = thread::spawn({
        let hub = Arc::clone(&hub);
        move || hub.wait_drained(Duration::ZERO)
    });
    thread::sleep(SHORT);
    assert!(
        !drained.is_finished(),
        "the consumer has not got everything yet"
    );
    let (bytes, events) = collect(&hub, consumer, |_, _| false);
    assert_eq!(bytes, b"bye");
    assert_eq!(events, end);
    hub.leave(consumer);
    drained.join().expect("drained");
    // Whoever comes too late is told.
    let late = hub.join();
    let (_, events) = collect(&hub, late, |_, _| false);
    assert_eq!(events, end);
}

#[test]
fn input_waits_for_the_device_and_keeps_its_order() {
    let hub = ConsoleHub::new();
    hub.start_input().expect("thread");
    let consumer = hub.join();
    hub.input(consumer, b"typed before ".to_vec())
        .expect("room");
    hub.input(consumer, b"the guest was ready".to_vec())
        .expect("room");
    let (device, offered) = Device::with_room(5);
    hub.connect(Arc::clone(&device) as _);
    wait_until(|| device.taken() == b"typed");
    while offered.recv_timeout(SHORT).is_ok() {}
    *device.room.lock().expect("room") = 100;
    assert!(
        offered.recv_timeout(SHORT).is_err(),
        "it was not asked to try again"
    );
    hub.input_room();
    wait_until(|| device.taken() == b"typed before the guest was ready");
    let taken = |events: &[Event]| -> usize {
        let count = |event: &Event| match event {
            Event::InputTaken { bytes } => *bytes,
            _ => 0,
        };
        events.iter().map(count).sum()
    };
    let (_, events) = collect(&hub, consumer, |_, events| taken(events) >= 32);
    assert_eq!(taken(&events), 32);
}

#[test]
fn a_client_that_sends_beyond_its_window_is_refused() {
    let hub = ConsoleHub::new();
    let consumer = hub.join();
    assert_eq!(hub.input(consumer, vec![0; INPUT_WINDOW]), Ok(()));
    assert_eq!(hub.input(consumer, vec![0]), Err(WindowExceeded));
    let other = hub.join();
    assert_eq!(hub.input(other, vec![0]), Ok(()), "each has its own window");
}

#[test]
fn a_machine_that_starts_again_learns_the_size_and_gets_the_input() {
    let hub = ConsoleHub::new();
    hub.start_input().expect("thread");
    hub.resize(TerminalSize {
        columns: 80,
        rows: 24,
    });
    let (first, _offered) = Device::with_room(0);
    hub.connect(Arc::clone(&first) as _);
    hub.resize(TerminalSize {
        columns: 132,
        rows: 50,
    });
    let consumer = hub.join();
    hub.input(consumer, b"hello".to_vec()).expect("room");
    let (second, _offered) = Device::with_room(100);
    hub.connect(Arc::clone(&second) as _);
    wait_until(|| second.taken() == b"hello");
    assert_eq!(*first.sizes.lock().expect("sizes"), [(80, 24), (132, 50)]);
    assert_eq!(*second.sizes.lock().expect("sizes"), [(132, 50)]);
    assert!(first.taken().is_empty());
}
