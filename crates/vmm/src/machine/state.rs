//! A machine as a plain value.

use clade_engine::VcpuState;
use serde::{Deserialize, Serialize};

use super::{Core, MachineError, lock};
use crate::board::{BoardError, BoardState};

/// Everything about a machine that its guest can observe, but for its memory and what is on its
/// disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineState {
    /// Its devices.
    pub board: BoardState,
    /// Its vCPUs, by index.
    pub vcpus: Vec<VcpuState>,
}

impl Core {
    /// The state of a machine that stands still.
    pub(super) fn save(&self) -> Result<MachineState, MachineError> {
        // Before the vCPUs: devices finish what they work on, and interrupt.
        let board = self.board.save()?;
        let vcpus = self.vcpus.iter().map(|vcpu| lock(vcpu).save());
        Ok(MachineState {
            board,
            vcpus: vcpus.collect::<Result<_, _>>()?,
        })
    }

    /// After the board, whose devices may have interrupted.
    pub(super) fn restore_vcpus(&self, state: &MachineState) -> Result<(), MachineError> {
        if state.vcpus.len() != self.vcpus.len() {
            return Err(MachineError::Board(BoardError::State(format!(
                "it is of a machine with {} vCPUs, and this one has {}",
                state.vcpus.len(),
                self.vcpus.len()
            ))));
        }
        for (vcpu, saved) in self.vcpus.iter().zip(&state.vcpus) {
            lock(vcpu).restore(saved)?;
        }
        Ok(())
    }
}
