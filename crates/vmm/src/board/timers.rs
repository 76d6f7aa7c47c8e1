//! The thread on which devices' alarms go off.

use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use clade_devices::Rtc;
use clade_engine::Clock;

use crate::gate::Gate;

/// Tells the thread that a deadline may have changed, or that the machine ends.
#[derive(Default)]
pub(super) struct Alarm {
    state: Mutex<AlarmState>,
    changed: Condvar,
}

#[derive(Default)]
struct AlarmState {
    rearmed: bool,
    ended: bool,
}

impl Alarm {
    /// A device's deadline may be another now.
    pub(super) fn rearm(&self) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .rearmed = true;
        self.changed.notify_one();
    }

    /// The thread is to end.
    pub(super) fn end(&self) {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .ended = true;
        self.changed.notify_one();
    }

    /// Sleeps for `timeout` at the longest. False when the machine has ended.
    fn wait(&self, timeout: Option<Duration>) -> bool {
        // Bounded, so that a change of the host's wall clock is noticed.
        const LONGEST: Duration = Duration::from_secs(60);
        let timeout = timeout.unwrap_or(LONGEST).min(LONGEST);
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut state, _) = self
            .changed
            .wait_timeout_while(state, timeout, |state| !state.rearmed && !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        state.rearmed = false;
        !state.ended
    }
}

/// Starts the thread. Alarms go off inside of `gate`.
pub(super) fn start(
    alarm: Arc<Alarm>,
    clock: Arc<dyn Clock>,
    rtc: Arc<Rtc>,
    gate: Arc<Gate>,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("timers".into()).spawn(move || {
        loop {
            let timeout = rtc
                .next_deadline_wall_ns()
                .map(|at| Duration::from_nanos(at.saturating_sub(clock.wall_ns())));
            if !alarm.wait(timeout) {
                return;
            }
            if gate.pass(|| rtc.poll()).is_none() {
                return;
            }
        }
    })
}
