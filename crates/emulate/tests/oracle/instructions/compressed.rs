//! Random 16-bit instructions.

use std::collections::BTreeMap;

use clade_riscv::isa::{COMPRESSED, Class, Inst, Op, decode};

use super::super::assembler::blank;
use super::{Generator, Jump};

/// The compressed jumps by offset. They are found by decoding all words, so that their scattered
/// immediates are described in one place only.
pub(super) struct Compressed {
    /// By operation, register and offset.
    jumps: BTreeMap<(Op, u8, i32), u16>,
}

impl Compressed {
    pub(super) fn new() -> Self {
        let jumps = (0..=u16::MAX)
            .filter(|half| half & 3 != 3)
            .filter_map(|half| Some((decode(u32::from(half))?, half)))
            .filter(|(inst, _)| matches!(inst.op, Op::Jal | Op::Beq | Op::Bne))
            .map(|(inst, half)| ((inst.op, inst.rs1, inst.imm), half))
            .collect();
        Self { jumps }
    }

    /// The jump `half` with another offset, if it reaches so far.
    pub(super) fn with_offset(&self, half: u16, offset: i32) -> Option<u16> {
        let inst = decode(u32::from(half))?;
        self.jumps.get(&(inst.op, inst.rs1, offset)).copied()
    }
}

impl Generator {
    /// A random compressed instruction.
    pub(super) fn compressed_item(&mut self) {
        let row = &COMPRESSED[self.random.below(COMPRESSED.len() as u64) as usize];
        let half = row.value | self.random.bits() as u16 & !row.mask;
        let Some(inst) = decode(u32::from(half)) else {
            // Reserved: must trap.
            self.code.half(half);
            return;
        };
        match inst.op.spec().class {
            Class::Load | Class::Store => {
                let target = self.target(8, inst.imm % 8 == 0);
                self.code
                    .address(inst.rs1, target.wrapping_sub(inst.imm as u64));
            }
            Class::Branch | Class::Jump => return self.compressed_jump(inst, half),
            _ => {}
        }
        self.code.half(half);
    }

    fn compressed_jump(&mut self, inst: Inst, half: u16) {
        let items = 1 + self.random.below(6);
        if inst.op == Op::Jalr {
            let auipc = self.code.here();
            self.code.emit(Inst {
                rd: inst.rs1,
                ..blank(Op::Auipc)
            });
            let jump = Jump::Address(self.code.here(), auipc);
            self.jumps.push((jump, items));
            self.code.word(0);
            self.code.half(half);
        } else {
            let jump = Jump::Compressed(self.code.here(), half);
            self.jumps.push((jump, items));
            // Where the target turns out to be too far, the instruction does nothing.
            const NOP: u16 = 0x0001;
            self.code.half(NOP);
        }
    }
}
