//! How much memory a running machine's guest may have.

use std::time::{Duration, Instant};

use clade_vmm::control::{Event, Request};

use crate::machine::{Next, PATIENCE};
use crate::{Error, Machine};

impl Machine {
    /// Asks the guest to make do with `bytes` of memory until it next starts, and gives the rest back
    /// to the host: more than the guest can spare it does not give. With as much as the machine has,
    /// the guest may use all of it again.
    ///
    /// # Errors
    /// When the machine does not run, has less than that, or its guest has no driver for the balloon.
    pub fn limit_memory(&self, bytes: u64) -> Result<(), Error> {
        let has = self.spec.config.memory;
        if bytes > has {
            return Err(Error::TooMuchMemory {
                name: self.spec.name.clone(),
                has: has >> 20,
            });
        }
        if !self.state.is_live() {
            return Err(self.not_running());
        }
        let mut connection = self.connect()?;
        self.tell(&connection, &Request::LimitMemory { bytes })?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.next_event(&mut connection, left)? {
                Next::Event(Event::MemoryLimited { heard: true }) => return Ok(()),
                Next::Event(Event::MemoryLimited { heard: false }) => {
                    let reason = "its guest has no driver for the memory balloon (yet)";
                    return Err(self.no_answer(reason.to_owned()));
                }
                Next::Event(_) if left > Duration::ZERO => {}
                Next::Gone => return Err(self.not_running()),
                _ => return Err(self.no_answer("it is silent".to_owned())),
            }
        }
    }
}
