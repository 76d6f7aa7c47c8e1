//! One instruction at a time, for debuggers and differential tests.

use clade_engine::Exit;
use clade_riscv::hart::Hart;

use crate::core::Core;
use crate::interpreter;

/// A hart that stops after every instruction. It does what the same hart does as a vCPU, only
/// slower: it keeps no decoded blocks.
pub struct Stepper {
    core: Core,
}

impl Stepper {
    pub(crate) fn new(core: Core) -> Self {
        Self { core }
    }

    /// Executes one instruction or takes one trap or interrupt; `hart().retired` tells which.
    /// `Some` when the machine's owner must be told of something.
    pub fn step(&mut self) -> Option<Exit> {
        let port = self.core.port.clone();
        port.adopt_current_thread();
        port.set_executing(true);
        let exit = interpreter::run_one(&mut self.core);
        port.set_executing(false);
        exit
    }

    /// The hart's registers between two steps.
    pub fn hart(&self) -> &Hart {
        &self.core.hart
    }
}
