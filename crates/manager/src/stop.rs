//! Ending machines: by their guest's own doing, or by force.

use std::thread;
use std::time::{Duration, Instant};

use clade_vmm::control::{Connection, Event, Request};
use clade_vmm::outcome::Outcome;
use clade_vmm::record;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::machine::{Next, PATIENCE};
use crate::{Error, Machine, State};

/// A guest whose driver heard the power button is asked again after this time: the program that is
/// to react may not be listening yet. One that has done so does not mind.
const AGAIN_IF_HEARD: Duration = Duration::from_secs(1);

/// A guest that does not hear its power button is asked again after this time: it may be starting.
const AGAIN: Duration = Duration::from_millis(200);

/// A guest that has run for so long, in seconds, and does not hear its power button, never will.
const STARTED: u64 = 60;

/// How often a machine is looked at that cannot be listened to.
const LOOK: Duration = Duration::from_millis(20);

/// How a machine came to stand still.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped {
    /// It did not run.
    Already,
    /// Its life ended while it was being asked, as a rule because it was.
    ByItself(Outcome),
    /// It was ended, as if its power were cut.
    ByForce,
}

impl Machine {
    /// Asks the guest to power off, as its power button does, and waits for that; after `patience`
    /// ends the machine as [`Machine::kill`] does. One that is paused goes on first.
    ///
    /// # Errors
    /// When it can neither be asked nor ended; [`Error::Suspended`] for one that could be asked only
    /// if it went on, unless there is no patience anyway.
    pub fn stop(&self, patience: Duration) -> Result<Stopped, Error> {
        let deadline = Instant::now() + patience;
        let Some(now) = self.settled()? else {
            return Ok(Stopped::Already);
        };
        if now.state.is_suspended() && !patience.is_zero() {
            let name = now.spec.name;
            return Err(Error::Suspended {
                reason: "its guest cannot power off",
                remedy: format!("`clade kill {name}` ends it as if its power were cut."),
                name,
            });
        }
        if !now.state.is_live() || patience.is_zero() {
            return now.kill();
        }
        if now.check_awake().is_err() {
            now.resume_running()?;
        }
        let mut connection = match now.connect() {
            Ok(connection) => connection,
            Err(_) => return now.kill(),
        };
        match now.ask_to_power_off(&mut connection, deadline)? {
            Some(outcome) => {
                now.wait_until_free(PATIENCE)?;
                Ok(Stopped::ByItself(outcome))
            }
            None => now.kill(),
        }
    }

    /// Ends the machine at once, as if its power were cut. One that is suspended loses its memory.
    ///
    /// # Errors
    /// When its process cannot be ended.
    pub fn kill(&self) -> Result<Stopped, Error> {
        let Some(now) = self.settled()? else {
            return Ok(Stopped::Already);
        };
        if now.discard_suspended()? {
            return Ok(Stopped::ByForce);
        }
        now.end_process()
    }

    /// Ends the machine's process, whatever is kept of the machine.
    pub(crate) fn end_process(&self) -> Result<Stopped, Error> {
        let now = match self.settled()? {
            Some(now) if now.state.is_live() => now,
            _ => return Ok(Stopped::Already),
        };
        if now.cut_power().is_err() {
            now.kill_process()?;
        }
        now.wait_until_free(PATIENCE)?;
        Ok(Stopped::ByForce)
    }

    /// Returns how the machine ended; `None` if it did not in time, or its guest has no power
    /// button's driver.
    fn ask_to_power_off(
        &self,
        connection: &mut Connection,
        deadline: Instant,
    ) -> Result<Option<Outcome>, Error> {
        let mut press_at = Instant::now();
        let started = self.record.as_ref().map_or(0, |record| record.started);
        let old = record::now().saturating_sub(started) > STARTED;
        loop {
            let now = Instant::now();
            if now >= deadline {
                return Ok(None);
            }
            if press_at <= now {
                press_at = now + AGAIN_IF_HEARD;
                if connection.sender.request(&Request::PowerButton).is_err() {
                    return Ok(self.ended());
                }
            }
            let until = press_at.min(deadline);
            match self.next_event(connection, until.saturating_duration_since(now))? {
                Next::Event(Event::PowerButton { heard: false }) if old => return Ok(None),
                Next::Event(Event::PowerButton { heard: false }) => {
                    press_at = Instant::now() + AGAIN;
                }
                Next::Event(Event::Ended(outcome)) => return Ok(Some(outcome)),
                Next::Event(_) | Next::Silence => {}
                Next::Gone => return Ok(self.ended()),
            }
        }
    }

    /// How the machine ended, if it did.
    fn ended(&self) -> Option<Outcome> {
        match self.refresh() {
            Ok(Some(now)) => match now.state {
                State::Stopped { outcome, .. } => Some(outcome),
                _ => None,
            },
            // A temporary one: it took its story with it.
            Ok(None) => Some(Outcome::Stopped),
            Err(_) => None,
        }
    }

    /// Asks the machine to end itself at once.
    fn cut_power(&self) -> Result<(), Error> {
        let ended = |event| matches!(event, Event::Ended(_)).then_some(());
        self.ask_last(&Request::Stop, PATIENCE, ended).map(drop)
    }

    /// Kills the machine's process, and no other that may have its number by then.
    fn kill_process(&self) -> Result<(), Error> {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            return Err(self.no_answer("its process has not begun".into()));
        };
        let failed = |error: Errno| self.no_answer(format!("process {pid:?} stays: {error}"));
        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(()),
            other => other.map_err(failed)?,
        };
        // The process holds the machine's lock for as long as it lives, so it still is the one.
        if self.refresh()?.is_some_and(|now| now.state == self.state) {
            match pidfd_send_signal(&process, Signal::KILL) {
                Err(Errno::SRCH) => {}
                other => other.map_err(failed)?,
            }
        }
        Ok(())
    }

    /// The machine once it has started, if it was about to.
    pub(crate) fn settled(&self) -> Result<Option<Machine>, Error> {
        self.once(|now| now.state != State::Starting)
    }

    /// The machine once it runs, if its process waits to be told so, perhaps by somebody who has died:
    /// then it soon does not run. Else [`State::Starting`], if it takes too long.
    pub(crate) fn begun(&self) -> Result<Option<Machine>, Error> {
        let has_begun = |now: &Machine| match now.state {
            State::Starting => false,
            State::Running { .. } => now.status().is_ok_and(|status| status.begun),
            _ => true,
        };
        self.once(has_begun)
    }

    /// The machine once it is as `wanted`; when patience ends, as [`State::Starting`].
    fn once(&self, wanted: impl Fn(&Machine) -> bool) -> Result<Option<Machine>, Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Some(mut now) = self.refresh()? else {
                return Ok(None);
            };
            if wanted(&now) {
                return Ok(Some(now));
            }
            if Instant::now() > deadline {
                now.state = State::Starting;
                return Ok(Some(now));
            }
            thread::sleep(LOOK);
        }
    }

    /// Waits until nobody has the machine: an ended one may have its process for a moment more.
    pub(crate) fn wait_until_free(&self, patience: Duration) -> Result<(), Error> {
        let deadline = Instant::now() + patience;
        while self.refresh()?.is_some_and(|now| now.state.is_live()) {
            if Instant::now() > deadline {
                return Err(self.no_answer("its process does not end".into()));
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }
}
