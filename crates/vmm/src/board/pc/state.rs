use clade_devices::acpi::AcpiEventsState;
use clade_devices::cmos::CmosState;
use clade_kvm::ChipsState;
use serde::{Deserialize, Serialize};

/// What only a PC has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PcState {
    /// The real-time clock.
    pub cmos: CmosState,
    /// ACPI's events.
    pub events: AcpiEventsState,
    /// Interrupt controllers and clock of KVM's.
    pub chips: ChipsState,
}
