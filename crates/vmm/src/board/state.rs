//! A board's devices as plain values.

use std::collections::BTreeMap;

use clade_devices::aplic::AplicState;
use clade_devices::flash::FlashState;
use clade_devices::pci::PciState;
use clade_devices::plic::PlicState;
use clade_devices::rtc::RtcState;
use clade_devices::uart::UartState;
use clade_devices::virtio::VirtioState;
use clade_devices::vmgenid::VmGenIdState;
use clade_engine::Clock;
use serde::{Deserialize, Serialize};

use super::virt::{Board, BoardError};

/// Everything on the board that a guest can observe, but for its memory and its vCPUs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardState {
    /// The machine's time in nanoseconds.
    pub clock_ns: u64,
    /// The interrupt controller that wires lead to.
    pub wires: WiresState,
    /// What stands in the boot ROM, if there is one.
    pub rom: Option<Vec<u8>>,
    /// The real-time clock.
    pub rtc: RtcState,
    /// The serial port.
    pub uart: UartState,
    /// Who the machine is.
    pub generation: VmGenIdState,
    /// Which console printed last.
    pub console_speaker: u8,
    /// The flash of variables, if there is one.
    pub flash: Option<FlashState>,
    /// The PCI bus.
    pub pci: PciState,
    /// What is plugged into it, by slot.
    pub virtio: BTreeMap<u8, VirtioState>,
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

impl Board {
    /// Everything on the board that a guest can observe, but for its memory and its vCPUs. Wants a
    /// board at rest; requests that devices are working on are finished first.
    pub(crate) fn save(&self) -> BoardState {
        BoardState {
            clock_ns: self.clock.monotonic_ns(),
            // Before what their interrupts lead to.
            virtio: (self.functions.iter())
                .map(|(&slot, function)| (slot, function.save()))
                .collect(),
            pci: self.pci.save(),
            rom: self.rom.clone(),
            rtc: self.rtc.save(),
            uart: self.uart.save(),
            generation: self.generation.save(),
            console_speaker: self.console_mux().speaker(),
            flash: self.flash.as_ref().map(|flash| flash.save()),
            wires: self.interrupts.save(),
        }
    }

    /// Continues from a saved state, but for the time, with which the clock was made.
    pub(super) fn restore(&self, saved: &BoardState) -> Result<(), BoardError> {
        if !saved.virtio.keys().eq(self.functions.keys()) {
            return Err(BoardError::State(format!(
                "its devices are in slots {:?}, here in {:?}",
                saved.virtio.keys(),
                self.functions.keys()
            )));
        }
        // Before the devices, whose interrupts go by it.
        self.pci.restore(&saved.pci)?;
        for (slot, function) in &self.functions {
            function.restore(&saved.virtio[slot])?;
        }
        self.rtc.restore(&saved.rtc);
        self.uart.restore(&saved.uart)?;
        self.generation.restore(&saved.generation);
        self.console_mux().set_speaker(saved.console_speaker);
        match (&self.flash, &saved.flash) {
            (Some(flash), Some(saved)) => flash.restore(saved),
            (None, None) => {}
            _ => return Err(BoardError::State("its flash is not where it was".into())),
        }
        // Last: whatever the devices have signalled meanwhile is in it already.
        self.interrupts.restore(&saved.wires)
    }
}
