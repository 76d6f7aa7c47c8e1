//! Stores that KVM answers by itself, by signalling an eventfd: `KVM_IOEVENTFD`.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd};
use std::sync::Arc;

use clade_engine::Doorbells;
use kvm_ioctls::{IoEventAddress, NoDatamatch};
use vmm_sys_util::eventfd::EventFd;

use crate::engine::Vm;

/// Of one virtual machine.
pub(crate) struct IoEvents(pub(crate) Arc<Vm>);

impl Doorbells for IoEvents {
    fn connect(&self, address: u64, event: BorrowedFd<'_>) -> io::Result<()> {
        let address = IoEventAddress::Mmio(address);
        // Without a value to compare there is no width either.
        (self.0.fd).register_ioevent(&duplicate(event)?, &address, NoDatamatch)?;
        Ok(())
    }

    fn disconnect(&self, address: u64, event: BorrowedFd<'_>) {
        let address = IoEventAddress::Mmio(address);
        // It fails only if it is not connected.
        let _ = duplicate(event)
            .and_then(|event| Ok((self.0.fd).unregister_ioevent(&event, &address, NoDatamatch)?));
    }
}

fn duplicate(event: BorrowedFd<'_>) -> io::Result<EventFd> {
    let event = event.try_clone_to_owned()?.into_raw_fd();
    // SAFETY: the descriptor is open, and nobody else's.
    Ok(unsafe { EventFd::from_raw_fd(event) })
}
