//! What a guest that went on from a saved state has to be told.

use clade_store::Lock;
use clade_vmm::spec::{MachineSpec, Unsettled};

use super::snapshot::LOCK;
use crate::{Error, Machine};

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
        let lock = Lock::acquire(&self.folder.join(LOCK), || ());
        let _alone = lock.map_err(Error::from)?;
        let Some(now) = self.refresh()? else {
            return Err(self.gone().into());
        };
        if let Some(unsettled) = &now.spec.unsettled {
            tell(&now.spec, unsettled)?;
            self.change_spec(|spec| spec.unsettled = None)?;
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
