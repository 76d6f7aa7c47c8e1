//! The console of a machine that is for something else.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use clade_guest::Error;
use clade_vmm::control::{Event, FromMachine, Receiver, Request, Sender};
use clade_vmm::outcome::Outcome;

use crate::failure::Failure;
use crate::verbs::exec::explain;

/// How much of it is kept to be shown, in bytes.
const TAIL: usize = 8 << 10;

/// How often it is looked at whether the machine has ended.
const LOOK: Duration = Duration::from_millis(10);

/// The machine's console, to which nobody listens but this.
#[derive(Debug)]
pub(crate) struct Console {
    heard: Arc<Mutex<Heard>>,
    thread: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Heard {
    tail: Vec<u8>,
    outcome: Option<Outcome>,
    over: bool,
}

impl Console {
    pub(crate) fn listen(receiver: Receiver) -> io::Result<Self> {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let ours = Arc::clone(&heard);
        let thread = thread::Builder::new()
            .name("console".into())
            .spawn(move || listen(receiver, &ours))?;
        Ok(Self { heard, thread })
    }

    pub(crate) fn is_over(&self) -> bool {
        lock(&self.heard).over
    }

    /// How the machine ended, if it does within this time.
    pub(super) fn outcome_within(&self, patience: Duration) -> Option<Outcome> {
        let deadline = Instant::now() + patience;
        while !self.is_over() && Instant::now() < deadline {
            thread::sleep(LOOK);
        }
        lock(&self.heard).outcome.clone()
    }

    /// Lets the machine run on by itself. Returns how it ended, if it was quicker.
    pub(super) fn leave(self, sender: &Sender) -> Option<Outcome> {
        // If it is gone, there is nothing to be told.
        let _ = sender.request(&Request::Detach);
        let _ = self.thread.join();
        lock(&self.heard).outcome.take()
    }

    /// Ends the machine, and waits until it has.
    pub(crate) fn end(self, sender: &Sender) {
        // If it is gone, it needs no end.
        let _ = sender.request(&Request::Stop);
        let _ = self.thread.join();
    }

    pub(crate) fn failure(&self, error: Error, name: &str) -> Failure {
        let heard = lock(&self.heard);
        let said = String::from_utf8_lossy(&heard.tail);
        let said = match said.trim() {
            "" => "Its console said nothing.".to_owned(),
            said => format!("Its console said last:\n{said}"),
        };
        match &heard.outcome {
            Some(outcome) => Failure::new(format!(
                "the machine ended before it could run the command; {}\n{said}",
                outcome
                    .message()
                    .unwrap_or_else(|| "its guest switched itself off".to_owned())
            )),
            None => explain(error, name).and(&said),
        }
    }
}

fn listen(mut receiver: Receiver, heard: &Mutex<Heard>) {
    loop {
        let frame = receiver.receive();
        let mut heard = lock(heard);
        match frame {
            Ok(Some(FromMachine::Output(bytes))) => {
                heard.tail.extend(bytes);
                let excess = heard.tail.len().saturating_sub(TAIL);
                heard.tail.drain(..excess);
            }
            Ok(Some(FromMachine::Event(Event::Ended(outcome)))) => heard.outcome = Some(outcome),
            Ok(Some(FromMachine::Event(_))) => {}
            Ok(None) | Err(_) => {
                heard.over = true;
                return;
            }
        }
    }
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}
