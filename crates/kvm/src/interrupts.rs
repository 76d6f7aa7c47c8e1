//! The ways into KVM's interrupt controllers.

use std::sync::Arc;

use clade_engine::{IrqLine, MsiSink};
use kvm_bindings::kvm_msi;

use crate::engine::Vm;

/// An input of the I/O APIC, and of an 8259 if it is below 16.
pub(crate) struct Wire {
    pub(crate) vm: Arc<Vm>,
    pub(crate) gsi: u32,
}

impl IrqLine for Wire {
    fn set_level(&self, asserted: bool) {
        // It fails only where there is no such input, and that was checked.
        let _ = self.vm.fd.set_irq_line(self.gsi, asserted);
    }
}

/// What local APICs listen to.
pub(crate) struct Messages(pub(crate) Arc<Vm>);

/// Where messages go: 0xfee00000 to 0xfeefffff (Intel SDM volume 3, 11.11.1).
const PREFIX: u64 = 0xfee;

impl MsiSink for Messages {
    fn signal(&self, address: u64, data: u32) {
        if address >> 20 != PREFIX {
            return;
        }
        // It fails where the guest named no APIC that is there: the message is lost, as on a bus.
        let _ = self.0.fd.signal_msi(kvm_msi {
            address_lo: address as u32,
            address_hi: 0,
            data,
            ..kvm_msi::default()
        });
    }
}
