//! Freezing a running machine in memory, and letting it go on.

use std::time::Duration;

use clade_vmm::control::{Event, Request};

use crate::{Error, Machine};

/// A machine that comes to a halt at all does so within this time.
const PATIENCE: Duration = Duration::from_secs(20);

impl Machine {
    /// Freezes the machine in memory: it stands still, and its time too, until it is resumed.
    /// Returns whether it ran before.
    ///
    /// # Errors
    /// When it does not run, or does not come to a halt.
    pub fn pause(&self) -> Result<bool, Error> {
        self.ask(&Request::Pause, PATIENCE, |event| match event {
            Event::Paused { changed } => Some(Ok(changed)),
            Event::Failed { reason } => Some(Err(self.no_answer(reason))),
            _ => None,
        })?
    }

    /// Lets the machine go on. Returns whether it was paused.
    pub(crate) fn end_pause(&self) -> Result<bool, Error> {
        let changed = self.ask(&Request::Resume, PATIENCE, |event| match event {
            Event::Resumed { changed } => Some(changed),
            _ => None,
        })?;
        if changed {
            self.has_lost_time()?;
        }
        Ok(changed)
    }
}
