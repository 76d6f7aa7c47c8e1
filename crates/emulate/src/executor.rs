//! Runs a hart by whatever tier suits the code that it is in.

use clade_engine::Exit;

use crate::block::BlockCache;
use crate::core::Core;
use crate::interpreter;

/// A hart and what was prepared to execute it.
pub(crate) struct Executor {
    pub(crate) core: Core,
    blocks: BlockCache,
}

impl Executor {
    pub(crate) fn new(core: Core) -> Self {
        Self {
            core,
            blocks: BlockCache::new(),
        }
    }

    /// Executes until something must be told to the machine's owner, or `None` once
    /// `hart.retired` has come to `stop_at`.
    pub(crate) fn run(&mut self, stop_at: u64) -> Option<Exit> {
        let port = self.core.port.clone();
        port.adopt_current_thread();
        port.set_executing(true);
        // Requests made while the hart was not executing count as done: do them first.
        port.notify();
        self.core.stop_at = stop_at;
        let exit = self.execute();
        port.set_executing(false);
        exit
    }

    fn execute(&mut self) -> Option<Exit> {
        let core = &mut self.core;
        loop {
            if core.needs_poll()
                && let Some(exit) = core.settle().or_else(|| core.poll())
            {
                return Some(exit);
            }
            if core.hart.retired >= core.stop_at {
                return None;
            }
            if core.instructions_stale {
                core.instructions_stale = false;
                self.blocks.revalidate();
            }
            if let Some(exit) = interpreter::run_block(core, &mut self.blocks) {
                return Some(exit);
            }
        }
    }
}
