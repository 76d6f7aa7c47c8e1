use clade_devices::acpi::AcpiEventsState;
use clade_devices::cmos::CmosState;
use clade_kvm::ChipsState;
use serde::{Deserialize, Serialize};

use super::q35::Q35State;

/// What only a PC has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PcState {
    /// The real-time clock.
    pub cmos: CmosState,
    /// ACPI's events.
    pub events: AcpiEventsState,
    /// Interrupt controllers and clock of KVM's.
    pub chips: ChipsState,
    /// What there is for firmware, if it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q35: Option<Q35State>,
}
