//! Items that compute.

use clade_riscv::csr::address::*;
use clade_riscv::csr::status;
use clade_riscv::isa::{Class, Op, decode};

use super::super::oracle::instructions::operands::special;
use super::*;

impl Generator {
    /// The random operands of an instruction, its destination one that may change.
    pub(super) fn operands(&mut self, value: u32, mask: u32) -> u32 {
        const RD: u32 = 31 << 7;
        let rd = u32::from(self.free()) << 7;
        value | (self.random.bits() as u32 & !RD | rd) & !mask
    }

    /// A random instruction of the classes that `wanted` names.
    pub(super) fn any_of(&mut self, wanted: impl Fn(Class) -> bool) -> u32 {
        loop {
            let spec = self.random.pick(Op::ALL).spec();
            if wanted(spec.class) {
                let raw = self.operands(spec.value, spec.mask);
                if decode(raw).is_some() {
                    return raw;
                }
            }
        }
    }

    fn constant(&mut self) {
        let (register, from) = (self.free(), 8 * self.random.below(POOL_ENTRIES) as i32);
        self.asm
            .li(register, POOL)
            .r(Op::Add, register, register, WINDOW);
        self.asm.i(Op::Ld, register, register, from);
    }

    pub(super) fn integers(&mut self) {
        if self.random.chance(1, 2) {
            self.constant();
        }
        for _ in 0..1 + self.random.below(6) {
            let raw =
                self.any_of(|class| matches!(class, Class::Alu | Class::MulDiv | Class::Hint));
            self.asm.word(raw);
        }
    }

    pub(super) fn compressed(&mut self) {
        for _ in 0..1 + self.random.below(4) {
            let half = self.compressed_alu();
            self.asm.half(half);
        }
    }

    /// A 16-bit instruction that only computes.
    pub(super) fn compressed_alu(&mut self) -> u16 {
        loop {
            let half = self.random.bits() as u16;
            if half & 3 != 3
                && decode(u32::from(half)).is_some_and(|inst| {
                    inst.op.spec().class == Class::Alu && FREE.contains(&inst.rd)
                })
            {
                return half;
            }
        }
    }

    pub(super) fn floats(&mut self) {
        let (register, base) = (self.random.below(32) as u8, self.free());
        let from = 8 * self.random.below(POOL_ENTRIES) as i32;
        self.asm.li(base, POOL).r(Op::Add, base, base, WINDOW);
        self.asm.i(Op::Fld, register, base, from);
        for _ in 0..1 + self.random.below(4) {
            let raw = self.any_of(|class| class == Class::Float);
            self.asm.word(raw);
        }
    }

    /// Rounding mode and flags, or whether there is floating point at all.
    pub(super) fn float_state(&mut self) {
        let (rd, from) = (self.free(), self.random.below(32) as u8);
        let number = self.random.pick(&[FFLAGS, FRM, FCSR]);
        match self.random.below(6) {
            0 => self.asm.csrr(rd, number),
            1 => self.asm.csr(Op::Csrrw, rd, number, from),
            2 => self.asm.csr(Op::Csrrsi, rd, FFLAGS, from),
            // Rounding modes that exist, the dynamic one for those that follow.
            3 => self.asm.csr(Op::Csrrwi, rd, FRM, from % 5),
            _ => {
                let state = self.random.pick(&[0, 1, 1, 2, 2, 2, 3, 3, 3, 3]);
                let (off, on) = (self.free(), state << status::FS_SHIFT);
                self.asm
                    .li(off, status::FS)
                    .csr(Op::Csrrc, ZERO, SSTATUS, off);
                self.asm.li(off, on).csr(Op::Csrrs, ZERO, SSTATUS, off)
            }
        };
    }

    /// The constants that programs load.
    pub(super) fn data(&mut self, image: &mut [u8]) {
        let mut put = |address: u64, value: u64| {
            let at = (address - BASE) as usize;
            image[at..at + 8].copy_from_slice(&value.to_le_bytes());
        };
        for index in 0..POOL_ENTRIES {
            put(POOL + 8 * index, special(&mut self.random));
        }
        for address in (DATA..FLIPPING + FLIPPING_PAGES * 0x1000).step_by(8) {
            put(address, special(&mut self.random));
        }
        for function in 0..FUNCTIONS {
            for target in 0..TARGETS {
                let item = self.random.below(20);
                let label = format!("item {function} {item}");
                let address = JUMP_TABLES + 8 * (function * TARGETS + target);
                put(address, self.asm.address(&label));
            }
        }
        let alias = if self.around.translated {
            USER_ALIAS
        } else {
            0
        };
        put(FRAME + frame::ALIAS as u64, alias);
    }
}
