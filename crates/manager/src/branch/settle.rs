//! What a guest that went on from a saved state has to be told.

use clade_store::Lock;
use clade_vmm::spec::{MachineSpec, Unsettled};

use crate::{Error, Machine};

/// The file in a machine's folder whose lock whoever tells its guest something holds. No other lock is
/// held meanwhile: the guest of a machine that is paused does not answer before it goes on.
const LOCK: &str = "settle.lock";

impl Machine {
    /// Has `tell` tell the guest what it does not know yet, if there is anything, and notes that it
    /// was told. Whoever else wants to do so meanwhile waits.
    ///
    /// # Errors
    /// What `tell` fails with, and when the machine is gone.
    pub fn settle_guest<E: From<Error>>(
        &self,
        tell: impl FnOnce(&MachineSpec, &Unsettled) -> Result<(), E>,
    ) -> Result<(), E> {
        let _alone = Lock::acquire(&self.folder.join(LOCK), || ()).map_err(Error::from)?;
        let Some(told) = self.refresh()? else {
            return Err(self.gone().into());
        };
        if let Some(unsettled) = &told.spec.unsettled {
            tell(&told.spec, unsettled)?;
            self.change_spec_if(|now, spec| {
                // Else it went on from another state meanwhile, which nobody was told of.
                if now.is_same_life(&told) {
                    spec.unsettled = None;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Notes that the guest does not know what time it is, if it knows all else.
    pub(crate) fn has_lost_time(&self) -> Result<(), Error> {
        self.change_spec(lose_time)?;
        Ok(())
    }

    pub(crate) fn gone(&self) -> Error {
        Error::NotFound {
            text: self.spec.name.clone(),
            known: Vec::new(),
        }
    }
}

pub(crate) fn lose_time(spec: &mut MachineSpec) {
    spec.unsettled.get_or_insert(Unsettled::Clock);
}
