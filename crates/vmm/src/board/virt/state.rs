use clade_devices::aplic::AplicState;
use clade_devices::flash::FlashState;
use clade_devices::plic::PlicState;
use clade_devices::rtc::RtcState;
use clade_devices::vmgenid::VmGenIdState;
use serde::{Deserialize, Serialize};

use crate::board::{BoardError, PlatformState};

/// What only a RISC-V board has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtState {
    /// The interrupt controller that wires lead to.
    pub wires: WiresState,
    /// What stands in the boot ROM, if there is one.
    pub rom: Option<Vec<u8>>,
    /// The real-time clock.
    pub rtc: RtcState,
    /// Who the machine is.
    pub generation: VmGenIdState,
    /// The flash of variables, if there is one.
    pub flash: Option<FlashState>,
}

impl VirtState {
    /// This board's part of a saved state.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        expect(
            irrefutable_let_patterns,
            reason = "hosts of other kinds have this board only"
        )
    )]
    pub(super) fn of(saved: &PlatformState) -> Result<&Self, BoardError> {
        if let PlatformState::Virt(saved) = saved {
            return Ok(saved);
        }
        Err(PlatformState::of_another_kind())
    }
}

/// The interrupt controller that wires lead to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WiresState {
    /// A PLIC.
    Plic(PlicState),
    /// An APLIC.
    Aplic(AplicState),
}
