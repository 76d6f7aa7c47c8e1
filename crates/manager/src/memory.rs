//! How much memory a running machine's guest may have.

use clade_vmm::control::{Event, Request};

use crate::machine::PATIENCE;
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
        let request = Request::LimitMemory { bytes };
        let heard = self.ask(&request, PATIENCE, |event| match event {
            Event::MemoryLimited { heard } => Some(heard),
            _ => None,
        })?;
        if heard {
            return Ok(());
        }
        let reason = "its guest has no driver for the memory balloon (yet)";
        Err(self.no_answer(reason.to_owned()))
    }
}
