//! Waiting for a machine to become something.

use std::thread;
use std::time::{Duration, Instant};

use clade_vmm::control::Event;

use crate::machine::Next;
use crate::{Error, Machine, State};

/// How often a machine is looked at that cannot be listened to.
const LOOK: Duration = Duration::from_millis(50);

/// A machine that is listened to is looked at as often as this, should its process be killed.
const LISTEN: Duration = Duration::from_secs(1);

/// What a machine can be waited for to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// Its guest runs.
    Running,
    /// Its guest says that it is ready to be worked with.
    Ready,
    /// It does not run any more. One that is suspended has not stopped.
    Stopped,
}

/// How waiting ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waited {
    /// The machine is in this state, which is what was waited for.
    Reached(State),
    /// The machine is in this state, from which it does not come to what was waited for.
    Missed(State),
    /// The machine is gone.
    Removed,
    /// Time ran out.
    TimedOut,
}

impl Machine {
    /// Waits until the machine has become what is wanted, but not past `deadline`. A machine that
    /// has never run is waited for; one that has stopped does not become ready by itself.
    ///
    /// # Errors
    /// When its folder cannot be read.
    pub fn wait_for(&self, goal: Goal, deadline: Option<Instant>) -> Result<Waited, Error> {
        loop {
            let Some(now) = self.refresh()? else {
                return Ok(match goal {
                    // A temporary one.
                    Goal::Stopped if self.spec.temporary => Waited::Reached(self.state.clone()),
                    _ => Waited::Removed,
                });
            };
            let stopped = !now.state.is_live() && !now.state.is_suspended();
            let running = matches!(now.state, State::Running { .. });
            match goal {
                Goal::Running if running => return Ok(Waited::Reached(now.state)),
                Goal::Stopped if stopped => return Ok(Waited::Reached(now.state)),
                Goal::Ready if running && now.status().is_ok_and(|status| status.ready) => {
                    return Ok(Waited::Reached(now.state));
                }
                Goal::Ready if !now.state.is_live() && now.state != State::Created => {
                    return Ok(Waited::Missed(now.state));
                }
                _ => {}
            }
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(Waited::TimedOut);
            }
            now.listen(left.unwrap_or(LISTEN).min(LISTEN));
        }
    }

    /// Returns when something of interest has happened to the machine, or might have.
    fn listen(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let Ok(mut connection) = self.connect() else {
            return thread::sleep(LOOK.min(patience));
        };
        // It may have become ready between being asked and being listened to.
        if self.status().is_ok_and(|status| status.ready) {
            return thread::sleep(LOOK.min(patience));
        }
        while let left = deadline.saturating_duration_since(Instant::now())
            && !left.is_zero()
        {
            match self.next_event(&mut connection, left) {
                Ok(Next::Event(Event::GuestReady | Event::Ended(_))) => return,
                Ok(Next::Event(_)) => {}
                Ok(Next::Gone | Next::Silence) | Err(_) => {
                    // No faster than that, whatever is wrong.
                    return thread::sleep(LOOK.min(left));
                }
            }
        }
    }
}
