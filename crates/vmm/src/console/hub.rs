//! The hub itself.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use clade_devices::{ConsoleHost, ConsolePort};

use super::log::ConsoleLog;
use super::outbox::Outbox;
use super::panic_watch::PanicWatch;
use super::scrollback::Scrollback;
use crate::control::{Event, FromMachine, TerminalSize};
use crate::outcome::Outcome;
use crate::stats::MachineStats;

/// Input bytes that one client may have waiting for the guest.
pub const INPUT_WINDOW: usize = 64 << 10;

/// Output kept for whoever attaches later, in bytes.
const SCROLLBACK: usize = 256 << 10;

/// Input offered to the device at once, in bytes.
const INPUT_PIECE: usize = 4 << 10;

/// A client sent more input than its window has room for: it does not keep to the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {INPUT_WINDOW} bytes of input sent ahead")]
pub struct WindowExceeded;

/// Joins the guest's console, its log and the attached clients.
pub struct ConsoleHub {
    state: Mutex<State>,
    /// Something to send, or a consumer that should leave.
    outgoing: Condvar,
    /// Room in an outbox, or a consumer that left.
    room: Condvar,
    /// Input that the device may take.
    incoming: Condvar,
}

/// The thread that writes the log.
#[derive(Debug)]
pub struct LogThread {
    consumer: u64,
    thread: thread::JoinHandle<()>,
}

struct State {
    scrollback: Scrollback,
    panic_watch: PanicWatch,
    consumers: BTreeMap<u64, Outbox>,
    next_consumer: u64,
    input: VecDeque<(u64, Vec<u8>)>,
    /// The device may have room: it has not refused input since it last said so.
    device_ready: bool,
    port: Option<Arc<dyn ConsolePort>>,
    size: Option<TerminalSize>,
    /// The guest said so, since it last started.
    guest_ready: bool,
    /// The machine is being stopped: nobody waits for slow consumers any more.
    released: bool,
    end: Option<(MachineStats, Outcome)>,
}

impl State {
    fn tell_all(&mut self, event: &Event) {
        for outbox in self.consumers.values_mut() {
            outbox.push_event(event.clone());
        }
    }
}

impl ConsoleHub {
    /// A hub with no device and no consumer.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                scrollback: Scrollback::new(SCROLLBACK),
                panic_watch: PanicWatch::default(),
                consumers: BTreeMap::new(),
                next_consumer: 0,
                input: VecDeque::new(),
                device_ready: true,
                port: None,
                size: None,
                guest_ready: false,
                released: false,
                end: None,
            }),
            outgoing: Condvar::new(),
            room: Condvar::new(),
            incoming: Condvar::new(),
        })
    }

    /// Starts the thread that feeds input to the device.
    ///
    /// # Errors
    /// When the host has no thread left.
    pub fn start_input(self: &Arc<Self>) -> io::Result<()> {
        let hub = Arc::clone(self);
        let feed = move || hub.feed_input();
        thread::Builder::new()
            .name("console-input".into())
            .spawn(feed)
            .map(drop)
    }

    /// Writes the console's output into `log` from now on, in a thread of its own. A log that
    /// cannot be written (the disk is full) ends; the machine goes on.
    ///
    /// # Errors
    /// When the host has no thread left.
    pub fn start_log(self: &Arc<Self>, mut log: ConsoleLog) -> io::Result<LogThread> {
        let consumer = self.join();
        self.attach(consumer);
        let hub = Arc::clone(self);
        let write = move || {
            while let Some(messages) = hub.next_messages(consumer) {
                let written = messages.iter().try_for_each(|message| match message {
                    FromMachine::Output(bytes) => log.append(bytes),
                    FromMachine::Event(_) => Ok(()),
                });
                if let Err(error) = written {
                    eprintln!("the console's log ends here: it cannot be written: {error}");
                    break;
                }
            }
            hub.leave(consumer);
        };
        let thread = thread::Builder::new()
            .name("console-log".into())
            .spawn(write)?;
        Ok(LogThread { consumer, thread })
    }

    /// Writes what is left for the log, and ends its thread.
    pub fn end_log(&self, log: LogThread) {
        self.close(log.consumer);
        // It told of its own failure.
        let _ = log.thread.join();
    }

    /// Connects the console device of the machine, which takes the input from now on. Called
    /// again after a reset, with the new machine's device.
    pub fn connect(&self, port: Arc<dyn ConsolePort>) {
        let size = {
            let mut state = self.lock();
            state.port = Some(Arc::clone(&port));
            state.device_ready = true;
            state.size
        };
        if let Some(size) = size {
            port.resize(size.columns, size.rows);
        }
        self.incoming.notify_all();
    }

    /// Adds a consumer that gets events but no output yet; returns its number. A consumer that
    /// comes after the end is told of it.
    pub fn join(&self) -> u64 {
        let mut state = self.lock();
        let consumer = state.next_consumer;
        state.next_consumer += 1;
        let mut outbox = Outbox::default();
        if let Some((stats, outcome)) = &state.end {
            outbox.push_end(*stats, outcome);
        }
        state.consumers.insert(consumer, outbox);
        consumer
    }

    /// Gives the consumer what was printed lately, and all that will be.
    pub fn attach(&self, consumer: u64) {
        let mut state = self.lock();
        let recent = state.scrollback.contents();
        if let Some(outbox) = state.consumers.get_mut(&consumer)
            && !outbox.attached
        {
            outbox.attached = true;
            outbox.push_output(&recent);
            self.outgoing.notify_all();
        }
    }

    /// Sends an event to one consumer.
    pub fn post(&self, consumer: u64, event: Event) {
        if let Some(outbox) = self.lock().consumers.get_mut(&consumer) {
            outbox.push_event(event);
            self.outgoing.notify_all();
        }
    }

    /// Lets the consumer leave when it has got everything that waits for it.
    pub fn close(&self, consumer: u64) {
        if let Some(outbox) = self.lock().consumers.get_mut(&consumer) {
            outbox.closing = true;
            outbox.attached = false;
        }
        self.outgoing.notify_all();
        self.room.notify_all();
    }

    /// Removes a consumer at once; nobody waits for it any more.
    pub fn leave(&self, consumer: u64) {
        self.lock().consumers.remove(&consumer);
        self.outgoing.notify_all();
        self.room.notify_all();
    }

    /// Waits for messages to a consumer and takes them. `None`: it should leave.
    pub fn next_messages(&self, consumer: u64) -> Option<Vec<FromMachine>> {
        let mut state = self.lock();
        loop {
            let outbox = state.consumers.get_mut(&consumer)?;
            if !outbox.is_empty() {
                let messages = outbox.take();
                self.room.notify_all();
                return Some(messages);
            }
            if outbox.closing {
                return None;
            }
            state = wait(&self.outgoing, state);
        }
    }

    /// Queues input of a consumer for the guest.
    ///
    /// # Errors
    /// [`WindowExceeded`] when more than [`INPUT_WINDOW`] bytes of it would wait.
    pub fn input(&self, consumer: u64, bytes: Vec<u8>) -> Result<(), WindowExceeded> {
        let mut state = self.lock();
        let outbox = state.consumers.get_mut(&consumer).ok_or(WindowExceeded)?;
        if outbox.input_pending + bytes.len() > INPUT_WINDOW {
            return Err(WindowExceeded);
        }
        if !bytes.is_empty() {
            outbox.input_pending += bytes.len();
            state.input.push_back((consumer, bytes));
            self.incoming.notify_all();
        }
        Ok(())
    }

    /// Tells the guest the size of the terminal, now and after each reset.
    pub fn resize(&self, size: TerminalSize) {
        let port = {
            let mut state = self.lock();
            state.size = Some(size);
            state.port.clone()
        };
        if let Some(port) = port {
            port.resize(size.columns, size.rows);
        }
    }

    /// Stops waiting for slow consumers: what does not fit into their outboxes is lost to them
    /// from now on. For a machine that is being stopped.
    pub fn release(&self) {
        self.lock().released = true;
        self.room.notify_all();
    }

    /// The line by which the guest's kernel said that it panicked, if it did so just now.
    /// Forgets it.
    pub fn take_panic(&self) -> Option<String> {
        self.lock().panic_watch.take(Instant::now())
    }

    /// Tells every consumer that the machine starts again, after [`ConsoleHub::guest_ended`].
    pub fn restart(&self) {
        let mut state = self.lock();
        state.tell_all(&Event::Restarted);
        self.outgoing.notify_all();
    }

    /// The guest runs no more: it is not ready, whether or not it starts again. Whoever then sees a connection to it
    /// break must not find it ready.
    pub fn guest_ended(&self) {
        self.lock().guest_ready = false;
    }

    /// Tells every consumer that the guest is ready to be worked with: by its own word, or because
    /// what serves its users answers. Only the first call after each start of the guest counts.
    pub fn guest_ready(&self) {
        let mut state = self.lock();
        if !state.guest_ready {
            state.guest_ready = true;
            state.tell_all(&Event::GuestReady);
            self.outgoing.notify_all();
        }
    }

    /// Whether [`ConsoleHub::guest_ready`] was called since the guest last started.
    pub fn is_guest_ready(&self) -> bool {
        self.lock().guest_ready
    }

    /// Tells every consumer, now and later, what the machine did and how it ended.
    pub fn finish(&self, outcome: &Outcome, stats: MachineStats) {
        let mut state = self.lock();
        state.end = Some((stats, outcome.clone()));
        for outbox in state.consumers.values_mut() {
            outbox.push_end(stats, outcome);
        }
        self.outgoing.notify_all();
    }

    /// Whether the machine's life ended ([`ConsoleHub::finish`]).
    pub fn is_finished(&self) -> bool {
        self.lock().end.is_some()
    }

    /// Waits until every consumer has got everything and left. A machine that was stopped from
    /// outside ([`ConsoleHub::release`]) waits for `patience` at most.
    pub fn wait_drained(&self, patience: Duration) {
        let mut state = self.lock();
        let mut deadline = None;
        while !state.consumers.is_empty() {
            if state.released {
                let now = Instant::now();
                let deadline = *deadline.get_or_insert(now + patience);
                if now >= deadline {
                    return;
                }
                state = self
                    .room
                    .wait_timeout(state, deadline - now)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
            } else {
                state = wait(&self.room, state);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The input thread: offers the queue's head to the device whenever that may have room.
    fn feed_input(&self) {
        let mut state = self.lock();
        loop {
            let (Some(port), true, Some((consumer, bytes))) =
                (state.port.clone(), state.device_ready, state.input.front())
            else {
                state = wait(&self.incoming, state);
                continue;
            };
            let consumer = *consumer;
            let piece = bytes[..bytes.len().min(INPUT_PIECE)].to_vec();
            // Cleared before the offer: the device may free room at once, and say so.
            state.device_ready = false;
            drop(state);
            let accepted = port.input(&piece).min(piece.len());
            state = self.lock();
            state.device_ready |= accepted == piece.len();
            self.input_taken(&mut state, consumer, accepted);
        }
    }

    fn input_taken(&self, state: &mut State, consumer: u64, count: usize) {
        if let Some((_, bytes)) = state.input.front_mut() {
            bytes.drain(..count);
            if bytes.is_empty() {
                state.input.pop_front();
            }
        }
        if count > 0
            && let Some(outbox) = state.consumers.get_mut(&consumer)
        {
            outbox.input_pending -= count;
            outbox.push_event(Event::InputTaken { bytes: count });
            self.outgoing.notify_all();
        }
    }
}

impl ConsoleHost for ConsoleHub {
    fn output(&self, bytes: &[u8]) {
        let mut state = self.lock();
        while !state.released && state.consumers.values().any(Outbox::is_full) {
            state = wait(&self.room, state);
        }
        state.panic_watch.observe(bytes, Instant::now());
        state.scrollback.append(bytes);
        let mut notify = false;
        for outbox in state.consumers.values_mut() {
            if outbox.attached && !outbox.is_full() {
                notify |= outbox.is_empty();
                outbox.push_output(bytes);
            }
        }
        if notify {
            self.outgoing.notify_all();
        }
    }

    fn input_room(&self) {
        let mut state = self.lock();
        state.device_ready = true;
        if !state.input.is_empty() {
            self.incoming.notify_all();
        }
    }
}

fn wait<'a>(condvar: &Condvar, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    condvar.wait(state).unwrap_or_else(PoisonError::into_inner)
}
