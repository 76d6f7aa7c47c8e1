//! The gate that everything passes which changes a machine: closed, the machine stands still.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Threads work inside, one round at a time; whoever closes the gate has the machine to himself.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How many threads are inside.
    inside: u32,
    /// How often the gate was closed and not opened again.
    closed: u32,
    /// Nobody waits at a closed gate any more.
    abolished: bool,
}

impl Gate {
    /// Does `work` inside, once the gate is open. `None` if it is closed and the machine has ended.
    ///
    /// Inside, the calling thread must not pass again.
    pub(crate) fn pass<T>(&self, work: impl FnOnce() -> T) -> Option<T> {
        let state = self.lock();
        let mut state = self.wait_while(state, |state| state.closed > 0 && !state.abolished);
        if state.closed > 0 {
            return None;
        }
        state.inside += 1;
        drop(state);
        // Also if the work panics: nobody is to wait for this thread.
        let _leave = Leave(self);
        Some(work())
    }

    /// Closes the gate, and calls out to those inside until they have left, with pauses of
    /// `patience` divided by a hundred. False, and the gate as it was, if they take longer than
    /// `patience`.
    pub(crate) fn close(&self, patience: Duration, call_out: impl Fn()) -> bool {
        const CALLS: u32 = 100;
        let mut state = self.lock();
        state.closed += 1;
        for _ in 0..CALLS {
            if state.inside == 0 {
                return true;
            }
            drop(state);
            call_out();
            let waited = self.changed.wait_timeout_while(
                self.lock(),
                patience / CALLS,
                |state: &mut State| state.inside > 0,
            );
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.inside == 0 {
            return true;
        }
        state.closed -= 1;
        drop(state);
        self.changed.notify_all();
        false
    }

    /// Undoes one [`Gate::close`].
    pub(crate) fn open(&self) {
        let mut state = self.lock();
        state.closed = state.closed.saturating_sub(1);
        drop(state);
        self.changed.notify_all();
    }

    /// The machine has ended: who waits at the gate goes home.
    pub(crate) fn abolish(&self) {
        self.lock().abolished = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_while<'a>(
        &self,
        state: MutexGuard<'a, State>,
        condition: impl FnMut(&mut State) -> bool,
    ) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_while(state, condition);
        waited.unwrap_or_else(PoisonError::into_inner)
    }
}

struct Leave<'a>(&'a Gate);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.inside -= 1;
        if state.inside == 0 && state.closed > 0 {
            self.0.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::thread;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn nobody_is_inside_a_closed_gate() {
        let gate = Gate::default();
        let (inside, ended) = (AtomicU64::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while !ended.load(Ordering::SeqCst) {
                        gate.pass(|| {
                            inside.fetch_add(1, Ordering::SeqCst);
                            thread::yield_now();
                            inside.fetch_sub(1, Ordering::SeqCst);
                        });
                    }
                });
            }
            for _ in 0..200 {
                assert!(gate.close(PATIENCE, || ()));
                assert!(gate.close(PATIENCE, || ()), "twice");
                for _ in 0..20 {
                    assert_eq!(inside.load(Ordering::SeqCst), 0);
                    thread::yield_now();
                }
                gate.open();
                assert_eq!(inside.load(Ordering::SeqCst), 0);
                gate.open();
            }
            ended.store(true, Ordering::SeqCst);
        });
    }

    #[test]
    fn who_does_not_leave_is_called_and_then_left_alone() {
        let gate = Arc::new(Gate::default());
        let (entered, leave) = (Arc::new(AtomicBool::new(false)), AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                gate.pass(|| {
                    entered.store(true, Ordering::SeqCst);
                    while !leave.load(Ordering::SeqCst) {
                        thread::yield_now();
                    }
                })
            });
            while !entered.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            assert!(!gate.close(Duration::from_millis(50), || ()));
            assert_eq!(gate.pass(|| 7), Some(7), "it is open again");
            assert!(gate.close(PATIENCE, || leave.store(true, Ordering::SeqCst)));
        });
    }

    #[test]
    fn the_end_frees_who_waits() {
        let gate = Gate::default();
        assert!(gate.close(PATIENCE, || ()));
        thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.pass(|| ()));
            thread::sleep(Duration::from_millis(20));
            gate.abolish();
            assert_eq!(waiting.join().expect("no panic"), None);
        });
        gate.open();
        assert_eq!(gate.pass(|| ()), Some(()), "an open one is passed even so");
    }
}
