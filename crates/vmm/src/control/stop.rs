//! Ending a machine from outside, by force or by its power button, whichever boot it is in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::console::ConsoleHub;

/// Stops the machine, now or as soon as it runs, or asks its guest to power off.
pub struct StopSwitch {
    hub: Arc<ConsoleHub>,
    state: Mutex<State>,
}

/// How the machine of the present boot is ended.
pub struct Controls {
    /// Stops it at once.
    pub stop: Box<dyn Fn() + Send>,
    /// Presses its power button; returns whether the guest took note.
    pub press: Box<dyn Fn() -> bool + Send>,
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
