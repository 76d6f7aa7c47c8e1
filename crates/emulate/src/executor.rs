//! Runs a hart by whatever tier suits the code that it is in.

use std::sync::Arc;

use clade_engine::Exit;

use crate::block::{self, BlockCache, Visits};
use crate::core::{Core, Shared};
use crate::interpreter::{self, Fetched};
use crate::memory::HostAddress;
use crate::translator::{self, Code, Left, Translator};

/// A hart and what was prepared to execute it.
pub(crate) struct Executor {
    pub(crate) core: Core,
    blocks: BlockCache,
    visits: Visits,
    shared: Arc<Shared>,
}

impl Executor {
    pub(crate) fn new(core: Core) -> Self {
        Self {
            blocks: BlockCache::new(match core.shared.translator {
                Some(_) => block::RECENT,
                None => block::ALL,
            }),
            visits: Visits::new(),
            shared: core.shared.clone(),
            core,
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
        let before = self.core.hart.retired;
        let exit = self.execute();
        self.count(before);
        port.publish_stats(self.core.jit.stats);
        port.set_executing(false);
        exit
    }

    /// Counts what was retired since `before`.
    fn count(&mut self, before: u64) {
        let retired = self.core.hart.retired.wrapping_sub(before);
        let stats = &mut self.core.jit.stats;
        stats.instructions += retired;
        if self.shared.translator.is_none() {
            stats.interpreted += retired;
        }
    }

    fn execute(&mut self) -> Option<Exit> {
        let shared = self.shared.clone();
        loop {
            let core = &mut self.core;
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
                if let Some(translator) = &shared.translator {
                    core.jit.fence = translator.fence();
                    core.forget_code();
                }
            }
            let exit = match &shared.translator {
                Some(translator) => self.run_translated(translator),
                None => interpreter::run_block(core, &mut self.blocks),
            };
            if exit.is_some() {
                return exit;
            }
        }
    }

    /// Executes the code at `hart.pc`: translated if it is, or hot enough to be.
    fn run_translated(&mut self, translator: &Translator) -> Option<Exit> {
        let at = match interpreter::fetch(&mut self.core) {
            Fetched::Page(at) => at,
            Fetched::Parcel(at) => {
                return self.interpret(|core, _| interpreter::step(core, at));
            }
            Fetched::Trapped => return None,
        };
        let Some(code) = translator
            .find(&self.core, at)
            .or_else(|| self.translate_if_hot(translator, at))
        else {
            self.core.jit.link = None;
            return self.interpret(|core, blocks| interpreter::run_block_at(core, blocks, at));
        };
        // Taken only now: to make room for the code, that of the link may have been given up.
        if let Some(link) = self.core.jit.link.take()
            && link.pc() == self.core.hart.pc
        {
            translator.link(&mut self.core, link, code, at);
        }
        match translator.run(&mut self.core, code) {
            Left::Continue => None,
            Left::Budget if !self.shared.tuning.exact_polls => {
                self.core.cut_short();
                None
            }
            Left::Budget if self.core.hart.retired < self.core.horizon() => {
                self.interpret(interpreter::run_block)
            }
            Left::Budget => None,
            // Not beyond the horizon: what precedes the instruction may have come up to it.
            Left::Interpret if self.core.allows(1) => {
                self.interpret(|core, _| interpreter::run_one(core))
            }
            Left::Interpret => None,
            Left::Unlinked(link) => {
                self.core.jit.link = Some(link);
                None
            }
            Left::Exit(exit) => Some(exit),
        }
    }

    fn translate_if_hot(&mut self, translator: &Translator, at: HostAddress) -> Option<Code> {
        let first = self.blocks.fetch(at)?.instructions.first()?.op;
        let is_hot = self.visits.count(at) > self.shared.tuning.hot_after as usize;
        let hot = is_hot && translator::is_translatable(first);
        hot.then(|| translator.translate(&mut self.core, at))?
    }

    /// Does a piece of interpretation, and counts it.
    fn interpret(
        &mut self,
        piece: impl FnOnce(&mut Core, &mut BlockCache) -> Option<Exit>,
    ) -> Option<Exit> {
        let before = self.core.hart.retired;
        let exit = piece(&mut self.core, &mut self.blocks);
        self.core.jit.stats.interpreted += self.core.hart.retired.wrapping_sub(before);
        exit
    }
}
