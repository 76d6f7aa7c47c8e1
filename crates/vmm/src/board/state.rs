//! A board's devices as plain values.

use std::collections::BTreeMap;

use clade_devices::pci::PciState;
use clade_devices::uart::UartState;
use clade_devices::virtio::VirtioState;
use clade_engine::{Clock, EngineError};
use serde::{Deserialize, Serialize};

#[cfg(target_arch = "x86_64")]
use super::pc::PcState;
use super::virt::VirtState;
use super::{Board, BoardError};

/// Everything on the board that a guest can observe, but for its memory and its vCPUs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoardState {
    /// The machine's time in nanoseconds.
    pub clock_ns: u64,
    /// What boards of this kind have.
    pub platform: PlatformState,
    /// The serial port.
    pub uart: UartState,
    /// Which console printed last.
    pub console_speaker: u8,
    /// The PCI bus.
    pub pci: PciState,
    /// What is plugged into it, by slot.
    pub virtio: BTreeMap<u8, VirtioState>,
}

/// What boards of one kind have, and others have not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlatformState {
    /// RISC-V: QEMU's `virt`.
    Virt(VirtState),
    /// x86-64: a PC.
    #[cfg(target_arch = "x86_64")]
    Pc(PcState),
}

impl PlatformState {
    /// The error of a state for boards of another kind.
    pub(super) fn of_another_kind() -> BoardError {
        BoardError::State("it is of a machine with another kind of processor".into())
    }
}

impl Board {
    /// Everything on the board that a guest can observe, but for its memory and its vCPUs. Wants a
    /// board at rest; requests that devices are working on are finished first.
    pub(crate) fn save(&self) -> Result<BoardState, EngineError> {
        Ok(BoardState {
            clock_ns: self.clock.monotonic_ns(),
            // Before what their interrupts lead to.
            virtio: (self.functions.iter())
                .map(|(&slot, function)| (slot, function.save()))
                .collect(),
            pci: self.pci.save(),
            uart: self.uart.save(),
            console_speaker: self.console.speaker(),
            platform: self.platform.save()?,
        })
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
        self.uart.restore(&saved.uart)?;
        self.console.set_speaker(saved.console_speaker);
        self.platform.restore(&saved.platform)
    }
}
