//! A given number of instructions at a time, for debuggers and differential tests.

use clade_engine::Exit;
use clade_riscv::hart::Hart;

use crate::executor::Executor;
use crate::interpreter;
use crate::stats::Stats;

/// A hart that stops when it is told to. It does what the same hart does as a vCPU.
pub struct Stepper {
    executor: Executor,
}

impl Stepper {
    pub(crate) fn new(executor: Executor) -> Self {
        Self { executor }
    }

    /// Executes one instruction or takes one trap or interrupt, always by the interpreter;
    /// `hart().retired` tells which. `Some` when the machine's owner must be told of something.
    pub fn step(&mut self) -> Option<Exit> {
        let core = &mut self.executor.core;
        let port = core.port.clone();
        port.adopt_current_thread();
        port.set_executing(true);
        let exit = if core.needs_poll() {
            core.settle().or_else(|| core.poll())
        } else {
            None
        };
        let before = core.hart.retired;
        let exit = exit.or_else(|| interpreter::run_one(core));
        let retired = core.hart.retired.wrapping_sub(before);
        core.jit.stats.instructions += retired;
        core.jit.stats.interpreted += retired;
        port.set_executing(false);
        exit
    }

    /// Executes `instructions` instructions and exceptions together, by the tier that the engine
    /// was made for, or fewer when the machine's owner must be told of something. Exact only with
    /// [`Tuning::exact_polls`](crate::Tuning::exact_polls), else up to a block too few or too many.
    pub fn advance(&mut self, instructions: u64) -> Option<Exit> {
        let stop_at = self.executor.core.hart.retired + instructions;
        self.executor.run(stop_at)
    }

    /// The hart's registers between two steps.
    pub fn hart(&self) -> &Hart {
        &self.executor.core.hart
    }

    /// What was done so far, in numbers.
    pub fn stats(&self) -> Stats {
        self.executor.core.jit.stats
    }
}
