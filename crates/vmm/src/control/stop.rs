//! Acting upon a machine from outside, whichever boot it is in: ending it by force or by its power
//! button, and taking memory from it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::console::ConsoleHub;

/// Stops the machine, now or as soon as it runs, or asks its guest to power off.
pub struct StopSwitch {
    hub: Arc<ConsoleHub>,
    state: Mutex<State>,
}

/// How the machine of the present boot is acted upon.
pub struct Controls {
    /// Stops it at once.
    pub stop: Box<dyn Fn() + Send>,
    /// Presses its power button; returns whether the guest took note.
    pub press: Box<dyn Fn() -> bool + Send>,
    /// Asks its guest to make do with so many bytes of memory; returns whether it took note.
    pub limit: Box<dyn Fn(u64) -> bool + Send>,
}

#[derive(Default)]
struct State {
    requested: bool,
    controls: Option<Controls>,
}

impl StopSwitch {
    /// A switch with no machine yet.
    pub fn new(hub: Arc<ConsoleHub>) -> Self {
        Self {
            hub,
            state: Mutex::default(),
        }
    }

    /// Says how the machine that starts now is ended. Stops it at once when that was asked before.
    pub fn arm(&self, controls: Controls) {
        let mut state = self.lock();
        if state.requested {
            (controls.stop)();
        }
        state.controls = Some(controls);
    }

    /// Presses the machine's power button. Returns whether its guest took note.
    pub fn press_power_button(&self) -> bool {
        let state = self.lock();
        state.controls.as_ref().is_some_and(|by| (by.press)())
    }

    /// Asks the machine's guest to make do with so many bytes of memory. Returns whether it took note.
    pub fn limit_memory(&self, bytes: u64) -> bool {
        let state = self.lock();
        state.controls.as_ref().is_some_and(|by| (by.limit)(bytes))
    }

    /// Stops the machine; a vCPU that waits for a slow console client is let go.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.requested = true;
        if let Some(controls) = &state.controls {
            (controls.stop)();
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
