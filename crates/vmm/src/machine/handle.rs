//! Reaching a machine while it runs.

use std::sync::{Arc, Weak};
use std::time::Duration;

use clade_devices::ConsolePort;
use clade_engine::{EngineError, PAGE_SIZE};

use super::{Core, Ended, MachineState, lock};
use crate::machine::MachineError;

/// A machine that cannot be frozen within this time is said to be busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// A machine did not come to a halt: a vCPU waits for a client of its console, or a device for the
/// host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the machine does not come to a halt; does a terminal that is attached to it hold back its \
     output, or does its disk wait for space?"
)]
pub struct StillBusy;

/// Reaches a machine from any thread.
#[derive(Clone)]
pub struct MachineHandle(pub(super) Arc<Core>);

impl MachineHandle {
    /// Makes [`super::Machine::run`] return [`Ended::Stopped`], also when it has not begun yet.
    pub fn stop(&self) {
        self.0.switch.end(Ended::Stopped);
        // Of a machine that stands still, all wait there.
        self.0.gate.abolish();
    }

    /// The way to type at the guest.
    pub fn console(&self) -> Arc<dyn ConsolePort> {
        Arc::new(GatedConsole(Arc::downgrade(&self.0)))
    }

    /// Presses the button by which the guest is asked to power off. Returns whether it took note.
    pub fn press_power_button(&self) -> bool {
        let board = &self.0.board;
        let pressed = self.0.gate.pass(|| board.press_power_button());
        pressed.unwrap_or(false)
    }

    /// Asks the guest to make do with so many bytes of memory. Returns whether it took note.
    pub fn limit_memory(&self, bytes: u64) -> bool {
        let pages = self.0.board.memory_size().saturating_sub(bytes) / PAGE_SIZE;
        let pages = u32::try_from(pages).unwrap_or(u32::MAX);
        let balloon = self.0.board.balloon();
        self.0
            .gate
            .pass(|| balloon.set_target(pages))
            .unwrap_or(false)
    }

    /// Tells the guest that it is a machine of its own from now on, `id`, which no other has: one that
    /// was cloned draws random numbers of its own. Wants a machine that has not begun to run, or does.
    pub fn renew_generation(&self, id: [u8; 16]) {
        self.0.gate.pass(|| self.0.board.renew_generation(id));
    }

    /// Stops the machine in its tracks: no vCPU and no device does anything, and its time does not
    /// pass, until the returned value is dropped.
    ///
    /// # Errors
    /// When it does not come to a halt; it then runs on.
    pub fn freeze(&self) -> Result<Frozen, StillBusy> {
        let core = &self.0;
        if !core.gate.close(PATIENCE, || core.switch.kick()) {
            return Err(StillBusy);
        }
        let mut frozen = lock(&core.frozen);
        if *frozen == 0 {
            tell(core.board.stop_clock());
        }
        *frozen += 1;
        drop(frozen);
        Ok(Frozen { core: core.clone() })
    }
}

/// A machine that stands still for as long as this exists.
pub struct Frozen {
    core: Arc<Core>,
}

impl Frozen {
    /// Everything that the guest can observe, but for its memory and what is on its disks.
    ///
    /// # Errors
    /// When the engine cannot say.
    pub fn save(&self) -> Result<MachineState, MachineError> {
        self.core.save()
    }
}

/// What goes wrong with a clock is seen by the guest, as time that passed or did not, and told in the log.
fn tell(done: Result<(), EngineError>) {
    if let Err(error) = done {
        eprintln!("the machine's time is not what it should be: {error}");
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let mut frozen = lock(&self.core.frozen);
        *frozen -= 1;
        if *frozen == 0 {
            tell(self.core.board.start_clock());
        }
        drop(frozen);
        self.core.gate.open();
    }
}

/// The console of a machine that may stand still.
struct GatedConsole(Weak<Core>);

impl ConsolePort for GatedConsole {
    fn input(&self, bytes: &[u8]) -> usize {
        let machine = self.0.upgrade();
        let taken = machine.and_then(|core| core.gate.pass(|| core.board.console().input(bytes)));
        // Of a machine that has ended, nobody misses what was typed.
        taken.unwrap_or(bytes.len())
    }

    fn resize(&self, columns: u16, rows: u16) {
        if let Some(core) = self.0.upgrade() {
            core.gate
                .pass(|| core.board.console().resize(columns, rows));
        }
    }
}
