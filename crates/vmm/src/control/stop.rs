//! Stopping a machine from outside, whichever boot it is in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::console::ConsoleHub;

/// Stops the machine, now or as soon as it runs.
pub struct StopSwitch {
    hub: Arc<ConsoleHub>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    requested: bool,
    stop: Option<Box<dyn Fn() + Send>>,
}

impl StopSwitch {
    /// A switch with no machine yet.
    pub fn new(hub: Arc<ConsoleHub>) -> Self {
        Self {
            hub,
            state: Mutex::default(),
        }
    }

    /// Says how the machine that starts now is stopped. Stops it at once when that was asked
    /// before.
    pub fn arm(&self, stop: impl Fn() + Send + 'static) {
        let mut state = self.lock();
        if state.requested {
            stop();
        }
        state.stop = Some(Box::new(stop));
    }

    /// Stops the machine; a vCPU that waits for a slow console client is let go.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.requested = true;
        if let Some(stop) = &state.stop {
            stop();
        }
        drop(state);
        self.hub.release();
    }

    /// Whether somebody asked to stop.
    pub fn is_requested(&self) -> bool {
        self.lock().requested
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
