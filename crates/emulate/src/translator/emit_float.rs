//! Floating point.

use clade_riscv::isa::Inst;

use super::emit::Emitter;

impl Emitter<'_> {
    pub(super) fn float_load(&mut self, _inst: &Inst) {
        self.assist();
    }

    pub(super) fn float_store(&mut self, _inst: &Inst) {
        self.assist();
    }

    pub(super) fn float(&mut self, _inst: &Inst) {
        self.assist();
    }
}
