//! A console session: the user's terminal or streams on one side, a machine on the other.

use std::io::{self, Write};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use clade_vmm::control::{Connection, Event, FromMachine, Receiver, Request, Sender};
use clade_vmm::outcome::Outcome;
use clade_vmm::stats::MachineStats;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH};
use signal_hook::iterator::Signals;

use crate::failure::Failure;
use crate::stdin::{self, Input, ReadySign, Window};
use crate::terminal::{self, RawTerminal};

/// A machine that was told to stop has this long to say that it did.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a session ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The machine's life ended.
    Ended(Outcome),
    /// The user left; the machine runs on.
    Detached,
    /// This signal ended the session.
    Signal(i32),
    /// Nobody reads standard output any more.
    OutputClosed,
    /// The machine's process is gone without a word.
    Lost,
}

/// A session that is over.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) end: End,
    /// What was done in the machine's life, if that ended.
    pub(crate) stats: Option<MachineStats>,
}

/// Attaches to a machine's console until either side ends it. With `owner` the machine goes with
/// the session, unless the user detaches.
pub(crate) fn attach(
    connection: Connection,
    input: Input,
    owner: bool,
) -> Result<Session, Failure> {
    let Connection { sender, receiver } = connection;
    let signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH])?;
    let signal = Arc::new(AtomicI32::new(0));
    let raw = match input {
        Input::Terminal => Some(RawTerminal::enter().map_err(|error| {
            Failure::new(format!(
                "the terminal on standard input cannot be made raw: {error}"
            ))
        })?),
        Input::Stream | Input::Script | Input::ReadyScript => None,
    };
    let watcher = SignalWatcher {
        signal: Arc::clone(&signal),
        sender: sender.clone(),
        owner,
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || watcher.watch(signals))?;
    let window = Window::of(input);
    let mut stats = None;
    let end = match start(&sender, input, &window) {
        Ok(()) => receive(
            receiver,
            &sender,
            (&window, ReadySign::of(input)),
            owner,
            &mut stats,
        ),
        Err(_) => End::Lost,
    };
    drop(raw);
    let end = match signal.load(Ordering::SeqCst) {
        0 => end,
        signal => End::Signal(signal),
    };
    Ok(Session { end, stats })
}

fn start(sender: &Sender, input: Input, window: &Window) -> io::Result<()> {
    sender.request(&Request::Attach {
        size: terminal::size(),
    })?;
    let (sender, window) = (sender.clone(), window.clone());
    thread::Builder::new()
        .name("stdin".into())
        .spawn(move || stdin::pump(io::stdin().lock(), input, &window, &sender))
        .map(drop)
}

/// The machine's output, and its other news, until there is no more.
fn receive(
    mut receiver: Receiver,
    sender: &Sender,
    (window, mut ready): (&Window, ReadySign),
    owner: bool,
    stats: &mut Option<MachineStats>,
) -> End {
    let mut stdout = Some(io::stdout().lock());
    let mut at_line_start = true;
    let end = loop {
        match receiver.receive() {
            Ok(Some(FromMachine::Output(mut bytes))) => {
                ready.look_for(&mut bytes, window);
                at_line_start = bytes.last() == Some(&b'\n');
                if let Some(out) = &mut stdout
                    && out.write_all(&bytes).and_then(|()| out.flush()).is_err()
                {
                    stdout = None;
                    if !owner || sender.request(&Request::Stop).is_err() {
                        break End::OutputClosed;
                    }
                }
            }
            Ok(Some(FromMachine::Event(Event::InputTaken { bytes }))) => window.open(bytes),
            Ok(Some(FromMachine::Event(Event::Restarted))) => ready.expect_again(window),
            Ok(Some(FromMachine::Event(Event::Detached))) => break End::Detached,
            Ok(Some(FromMachine::Event(Event::Stats(counted)))) => *stats = Some(counted),
            Ok(Some(FromMachine::Event(Event::Ended(_)))) if stdout.is_none() => {
                break End::OutputClosed;
            }
            Ok(Some(FromMachine::Event(Event::Ended(outcome)))) => break End::Ended(outcome),
            Ok(Some(FromMachine::Event(_))) => {}
            Ok(None) | Err(_) => break End::Lost,
        }
    };
    tidy_terminal(at_line_start);
    end
}

/// What is said next begins on a line of its own, in plain letters and with a cursor, whatever the
/// guest left behind.
fn tidy_terminal(at_line_start: bool) {
    use std::io::IsTerminal;
    if io::stdout().is_terminal() {
        let newline = if at_line_start { "" } else { "\r\n" };
        let mut stdout = io::stdout();
        // If the terminal is gone, there is nothing to tidy.
        let _ = write!(stdout, "\x1b[0m\x1b[?25h{newline}").and_then(|()| stdout.flush());
    }
}

struct SignalWatcher {
    signal: Arc<AtomicI32>,
    sender: Sender,
    owner: bool,
}

impl SignalWatcher {
    fn watch(self, mut signals: Signals) {
        for signal in signals.forever() {
            if signal == SIGWINCH {
                if let Some(size) = terminal::size() {
                    // If the connection is gone, the receiver knows.
                    let _ = self.sender.request(&Request::Resize(size));
                }
            } else {
                self.end(signal);
            }
        }
    }

    fn end(&self, signal: i32) {
        let again = self.signal.swap(signal, Ordering::SeqCst) != 0;
        if again {
            leave(signal);
        }
        if !self.owner || self.sender.request(&Request::Stop).is_err() {
            self.sender.close();
        }
        // The receiver may be stuck: in a write to a pipe that nobody reads, for example.
        let patience = thread::Builder::new()
            .name("patience".into())
            .spawn(move || {
                thread::sleep(PATIENCE);
                leave(signal);
            });
        if patience.is_err() {
            leave(signal);
        }
    }
}

fn leave(signal: i32) -> ! {
    terminal::restore();
    process::exit(128 + signal);
}
