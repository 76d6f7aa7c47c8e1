use std::io;

use clade_devices::pci::PciError;
use clade_devices::{Overlap, StateError};
use clade_engine::EngineError;

use super::FlashError;
use crate::fdt::FdtError;
use crate::loader::LoadError;

/// Why a board cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// A file that the machine starts from.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The device tree.
    #[error(transparent)]
    DeviceTree(#[from] FdtError),
    /// The flash.
    #[error(transparent)]
    Flash(#[from] FlashError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The engine is not there.
    #[error("the engine kvm runs x86-64 machines on x86-64 hosts; use `--engine emulate`")]
    NoKvm,
    /// The board is full.
    #[error("a machine with UEFI firmware has room for {0} shared folders; share fewer")]
    TooManyShares(usize),
    /// Guest memory.
    #[error(
        "the host gives no {mib} MiB of memory for the guest: {reason}; ask for less with --memory"
    )]
    Memory {
        /// How much was asked for, in MiB.
        mib: u64,
        /// The host's answer.
        reason: String,
    },
    /// The translator was asked for, and the host cannot have one.
    #[error(
        "this host cannot translate guest code; it lacks {0}\n\
         `--tier auto` runs the machine by interpretation."
    )]
    Translator(String),
    /// A saved state that this board cannot take.
    #[error("the saved state cannot be used: {0}")]
    State(String),
    /// Two devices in one place: a mistake in the board.
    #[error("the board is wired wrongly: {0}")]
    Wiring(String),
    /// Something of the host.
    #[error("the host refused {what}: {source}")]
    Host {
        /// What was asked of the host.
        what: String,
        /// Its answer.
        source: io::Error,
    },
}

impl From<Overlap> for BoardError {
    fn from(overlap: Overlap) -> Self {
        Self::Wiring(overlap.to_string())
    }
}

impl From<StateError> for BoardError {
    fn from(error: StateError) -> Self {
        Self::State(error.to_string())
    }
}

impl From<PciError> for BoardError {
    fn from(error: PciError) -> Self {
        Self::Wiring(error.to_string())
    }
}
