//! Acting upon a machine from outside, whichever boot it is in: ending it by force or by its power
//! button, and taking memory from it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::console::ConsoleHub;
use crate::machine::{Frozen, MachineHandle, StillBusy};

/// Stops the machine, now or as soon as it runs, or asks its guest to power off.
pub struct StopSwitch {
    hub: Arc<ConsoleHub>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    requested: bool,
    machine: Option<MachineHandle>,
    /// The machine stands still because somebody paused it.
    paused: Option<Frozen>,
}

impl StopSwitch {
    /// A switch with no machine yet.
    pub fn new(hub: Arc<ConsoleHub>) -> Self {
        Self {
            hub,
            state: Mutex::default(),
        }
    }

    /// Says how the machine that starts now is reached. Stops it at once when that was asked before.
    pub fn arm(&self, machine: MachineHandle) {
        let mut state = self.lock();
        if state.requested {
            machine.stop();
        }
        state.machine = Some(machine);
    }

    /// The machine is no longer to be reached: it has ended, and the guest's memory can go.
    pub fn disarm(&self) {
        let mut state = self.lock();
        state.paused = None;
        state.machine = None;
    }

    /// Freezes the machine until [`StopSwitch::resume`]. Returns whether it ran before.
    ///
    /// # Errors
    /// When it does not come to a halt.
    pub fn pause(&self) -> Result<bool, StillBusy> {
        let mut state = self.lock();
        if state.paused.is_some() {
            return Ok(false);
        }
        let frozen = state.machine.as_ref().map(MachineHandle::freeze);
        state.paused = frozen.transpose()?;
        Ok(true)
    }

    /// Undoes [`StopSwitch::pause`]. Returns whether there was anything to undo.
    pub fn resume(&self) -> bool {
        self.lock().paused.take().is_some()
    }

    /// Whether the machine was paused.
    pub fn is_paused(&self) -> bool {
        self.lock().paused.is_some()
    }

    /// Presses the machine's power button. Returns whether its guest took note.
    pub fn press_power_button(&self) -> bool {
        self.machine()
            .is_some_and(|machine| machine.press_power_button())
    }

    /// Asks the machine's guest to make do with so many bytes of memory. Returns whether it took note.
    pub fn limit_memory(&self, bytes: u64) -> bool {
        self.machine()
            .is_some_and(|machine| machine.limit_memory(bytes))
    }

    /// Stops the machine; a vCPU that waits for a slow console client is let go.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.requested = true;
        if let Some(machine) = &state.machine {
            machine.stop();
        }
        drop(state);
        self.hub.release();
    }

    /// Whether the machine runs, or is paused, and nobody asked to stop.
    pub fn has_machine(&self) -> bool {
        let state = self.lock();
        state.machine.is_some() && !state.requested
    }

    /// Whether somebody asked to stop.
    pub fn is_requested(&self) -> bool {
        self.lock().requested
    }

    /// The machine of the present boot. Whoever waits for it must not hold the lock meanwhile.
    pub(super) fn machine(&self) -> Option<MachineHandle> {
        self.lock().machine.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
