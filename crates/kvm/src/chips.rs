//! The interrupt controllers that a machine's vCPUs share, and its clock, as plain values.

use clade_engine::EngineError;
use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_irqchip,
};
use kvm_ioctls::VmFd;
use serde::{Deserialize, Serialize};

use crate::engine::refused;

/// What KVM emulates for a machine as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChipsState {
    /// The two 8259s and the I/O APIC, as Linux's interface has them (`struct kvm_irqchip`).
    chips: [Vec<u8>; 3],
    /// KVM's clock, in nanoseconds.
    clock_ns: u64,
}

const CHIPS: [u32; 3] = [
    KVM_IRQCHIP_PIC_MASTER,
    KVM_IRQCHIP_PIC_SLAVE,
    KVM_IRQCHIP_IOAPIC,
];

impl ChipsState {
    pub(crate) fn read(vm: &VmFd, clock_ns: u64) -> Result<Self, EngineError> {
        let read = |chip_id| {
            let mut chip = kvm_irqchip {
                chip_id,
                ..kvm_irqchip::default()
            };
            vm.get_irqchip(&mut chip)
                .map_err(refused("the state of interrupt controllers"))?;
            serde_json::to_value(chip)
                .and_then(serde_json::from_value)
                .map_err(|error| EngineError::State(error.to_string()))
        };
        let [first, second, third] = CHIPS;
        Ok(Self {
            chips: [read(first)?, read(second)?, read(third)?],
            clock_ns,
        })
    }

    /// Returns what the clock is to go on from.
    pub(crate) fn write(&self, vm: &VmFd) -> Result<u64, EngineError> {
        for (chip_id, bytes) in CHIPS.into_iter().zip(&self.chips) {
            let bytes = serde_json::json!(bytes);
            let chip: kvm_irqchip = serde_json::from_value(bytes)
                .map_err(|error| EngineError::State(error.to_string()))?;
            if chip.chip_id != chip_id {
                return Err(EngineError::State(
                    "its interrupt controllers are in the wrong order".into(),
                ));
            }
            vm.set_irqchip(&chip)
                .map_err(refused("to set interrupt controllers"))?;
        }
        Ok(self.clock_ns)
    }
}
