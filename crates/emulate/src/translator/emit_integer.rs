//! Integer arithmetic: I, M, Zba, Zbb, Zbs, Zicond.

use clade_riscv::isa::{Inst, Op};

use super::assembler::{
    Alu, Bit, Cond, Count, Mem, Operand, RAX, RCX, RDX, Reg, Scale, Shift, Unary, Width,
};
use super::emit::Emitter;
use super::unit::Placed;

impl Emitter<'_> {
    pub(super) fn integer(&mut self, placed: &Placed) {
        use Width::{B8, B16, B32, B64};
        let inst = &placed.inst;
        if inst.rd == 0 {
            return;
        }
        let Inst {
            op,
            rd,
            rs1,
            rs2,
            imm,
            ..
        } = *inst;
        match op {
            Op::Lui => self.constant(rd, i64::from(imm)),
            Op::Auipc => self.page_relative(rd, i64::from(placed.offset) + i64::from(imm)),
            Op::Addi if rs1 == 0 => self.constant(rd, i64::from(imm)),
            Op::Addi => self.add_immediate(rd, rs1, imm),
            Op::Andi => self.immediate(Alu::And, rd, rs1, imm),
            Op::Ori => self.immediate(Alu::Or, rd, rs1, imm),
            Op::Xori if imm == -1 => self.unary(rd, rs1, B64, Unary::Not),
            Op::Xori => self.immediate(Alu::Xor, rd, rs1, imm),
            Op::Add if rs1 == 0 => self.move_register(rd, rs2),
            Op::Add if rs2 == 0 => self.move_register(rd, rs1),
            Op::Add => self.add(rd, rs1, rs2),
            Op::Sub if rs1 == 0 && rs2 != 0 => self.unary(rd, rs2, B64, Unary::Neg),
            Op::Sub => self.binary(Alu::Sub, rd, rs1, rs2),
            Op::And => self.binary(Alu::And, rd, rs1, rs2),
            Op::Or => self.binary(Alu::Or, rd, rs1, rs2),
            Op::Xor => self.binary(Alu::Xor, rd, rs1, rs2),
            Op::Addiw => self.add_immediate_word(rd, rs1, imm),
            Op::Addw => self.binary_word(Alu::Add, rd, rs1, rs2),
            Op::Subw => self.binary_word(Alu::Sub, rd, rs1, rs2),

            Op::Slli => self.shift(B64, Shift::Shl, rd, rs1, imm),
            Op::Srli => self.shift(B64, Shift::Shr, rd, rs1, imm),
            Op::Srai => self.shift(B64, Shift::Sar, rd, rs1, imm),
            Op::Rori => self.shift(B64, Shift::Ror, rd, rs1, imm),
            Op::Slliw => self.shift(B32, Shift::Shl, rd, rs1, imm),
            Op::Srliw => self.shift(B32, Shift::Shr, rd, rs1, imm),
            Op::Sraiw => self.shift(B32, Shift::Sar, rd, rs1, imm),
            Op::Roriw => self.shift(B32, Shift::Ror, rd, rs1, imm),
            Op::Sll => self.shift_by(B64, Shift::Shl, rd, rs1, rs2),
            Op::Srl => self.shift_by(B64, Shift::Shr, rd, rs1, rs2),
            Op::Sra => self.shift_by(B64, Shift::Sar, rd, rs1, rs2),
            Op::Sllw => self.shift_by(B32, Shift::Shl, rd, rs1, rs2),
            Op::Srlw => self.shift_by(B32, Shift::Shr, rd, rs1, rs2),
            Op::Sraw => self.shift_by(B32, Shift::Sar, rd, rs1, rs2),
            Op::Rol => self.rotate_by(B64, Shift::Rol, rd, rs1, rs2),
            Op::Ror => self.rotate_by(B64, Shift::Ror, rd, rs1, rs2),
            Op::Rolw => self.rotate_by(B32, Shift::Rol, rd, rs1, rs2),
            Op::Rorw => self.rotate_by(B32, Shift::Ror, rd, rs1, rs2),

            Op::Slt => self.set_if(Cond::Less, rd, rs1, rs2),
            Op::Sltu => self.set_if(Cond::Below, rd, rs1, rs2),
            Op::Slti => self.set_if_immediate(Cond::Less, rd, rs1, imm),
            Op::Sltiu => self.set_if_immediate(Cond::Below, rd, rs1, imm),

            Op::Mul => self.multiply(B64, rd, rs1, rs2),
            Op::Mulw => self.multiply(B32, rd, rs1, rs2),
            Op::Mulh => self.multiply_high(Unary::Imul, rd, rs1, rs2),
            Op::Mulhu => self.multiply_high(Unary::Mul, rd, rs1, rs2),
            Op::Div => self.divide_signed(B64, RAX, rd, rs1, rs2),
            Op::Rem => self.divide_signed(B64, RDX, rd, rs1, rs2),
            Op::Divw => self.divide_signed(B32, RAX, rd, rs1, rs2),
            Op::Remw => self.divide_signed(B32, RDX, rd, rs1, rs2),
            Op::Divu => self.divide_unsigned(B64, RAX, rd, rs1, rs2),
            Op::Remu => self.divide_unsigned(B64, RDX, rd, rs1, rs2),
            Op::Divuw => self.divide_unsigned(B32, RAX, rd, rs1, rs2),
            Op::Remuw => self.divide_unsigned(B32, RDX, rd, rs1, rs2),

            Op::AddUw => self.shifted_add(Scale::One, true, rd, rs1, rs2),
            Op::Sh1add => self.shifted_add(Scale::Two, false, rd, rs1, rs2),
            Op::Sh2add => self.shifted_add(Scale::Four, false, rd, rs1, rs2),
            Op::Sh3add => self.shifted_add(Scale::Eight, false, rd, rs1, rs2),
            Op::Sh1addUw => self.shifted_add(Scale::Two, true, rd, rs1, rs2),
            Op::Sh2addUw => self.shifted_add(Scale::Four, true, rd, rs1, rs2),
            Op::Sh3addUw => self.shifted_add(Scale::Eight, true, rd, rs1, rs2),
            Op::SlliUw => {
                let to = self.target(rd, RAX);
                self.extend(to, B32, rs1, false);
                self.a.shift_imm(B64, Shift::Shl, to, imm as u8 & 63);
                self.write(rd, to);
            }

            Op::Andn => self.and_not(rd, rs1, rs2),
            Op::Orn => self.inverted(Alu::Or, rd, rs1, rs2),
            Op::Xnor => self.inverted(Alu::Xor, rd, rs1, rs2),
            Op::Clz => self.count(B64, Count::LeadingZeros, rd, rs1),
            Op::Ctz => self.count(B64, Count::TrailingZeros, rd, rs1),
            Op::Cpop => self.count(B64, Count::Ones, rd, rs1),
            Op::Clzw => self.count(B32, Count::LeadingZeros, rd, rs1),
            Op::Ctzw => self.count(B32, Count::TrailingZeros, rd, rs1),
            Op::Cpopw => self.count(B32, Count::Ones, rd, rs1),
            Op::Max => self.select(Cond::Less, rd, rs1, rs2),
            Op::Maxu => self.select(Cond::Below, rd, rs1, rs2),
            Op::Min => self.select_not(Cond::Less, rd, rs1, rs2),
            Op::Minu => self.select_not(Cond::Below, rd, rs1, rs2),
            Op::SextB => self.extension(B8, true, rd, rs1),
            Op::SextH => self.extension(B16, true, rd, rs1),
            Op::ZextH => self.extension(B16, false, rd, rs1),
            Op::Rev8 => {
                let to = self.target(rd, RAX);
                self.copy(rs1, to);
                self.a.bswap(to);
                self.write(rd, to);
            }

            Op::Bset => self.bit(Bit::Set, rd, rs1, rs2),
            Op::Bclr => self.bit(Bit::Reset, rd, rs1, rs2),
            Op::Binv => self.bit(Bit::Complement, rd, rs1, rs2),
            Op::Bseti => self.bit_immediate(Bit::Set, rd, rs1, imm),
            Op::Bclri => self.bit_immediate(Bit::Reset, rd, rs1, imm),
            Op::Binvi => self.bit_immediate(Bit::Complement, rd, rs1, imm),
            Op::Bext => {
                let by = self.read(rs2, RCX);
                let from = self.read(rs1, RAX);
                let to = self.target(rd, RAX);
                self.a.shift_reg(B64, Shift::Shr, to, from, by);
                self.a.alu_imm(B32, Alu::And, to, 1);
                self.write(rd, to);
            }
            Op::Bexti => {
                let to = self.target(rd, RAX);
                self.copy(rs1, to);
                self.a.shift_imm(B64, Shift::Shr, to, imm as u8 & 63);
                self.a.alu_imm(B32, Alu::And, to, 1);
                self.write(rd, to);
            }
            Op::CzeroEqz => self.zero_if(Cond::Equal, rd, rs1, rs2),
            Op::CzeroNez => self.zero_if(Cond::NotEqual, rd, rs1, rs2),
            _ => {
                debug_assert!(is_assisted(op), "{op:?}");
                self.assist();
            }
        }
    }

    fn constant(&mut self, rd: u8, value: i64) {
        let to = self.target(rd, RAX);
        self.a.mov_imm(to, value);
        self.write(rd, to);
    }

    fn move_register(&mut self, rd: u8, rs: u8) {
        if rs == 0 {
            return self.constant(rd, 0);
        }
        if rd == rs {
            self.keep(rd);
        } else {
            let to = self.target(rd, RAX);
            self.copy(rs, to);
            self.write(rd, to);
        }
    }

    fn add_immediate(&mut self, rd: u8, rs1: u8, imm: i32) {
        if imm == 0 {
            return self.move_register(rd, rs1);
        }
        let from = self.read(rs1, RAX);
        let to = self.target(rd, RAX);
        if from == to {
            self.a.alu_imm(Width::B64, Alu::Add, to, imm);
        } else {
            self.a.lea(to, Mem::at(from, imm));
        }
        self.write(rd, to);
    }

    fn immediate(&mut self, op: Alu, rd: u8, rs1: u8, imm: i32) {
        let to = self.target(rd, RAX);
        self.copy(rs1, to);
        self.a.alu_imm(Width::B64, op, to, imm);
        self.write(rd, to);
    }

    fn unary(&mut self, rd: u8, rs1: u8, width: Width, op: Unary) {
        let to = self.target(rd, RAX);
        self.copy(rs1, to);
        self.a.unary(width, op, to);
        self.write(rd, to);
    }

    fn add(&mut self, rd: u8, rs1: u8, rs2: u8) {
        if rd == rs1 || rd == rs2 {
            return self.binary(Alu::Add, rd, rs1, rs2);
        }
        let a = self.read(rs1, RAX);
        let b = self.read(rs2, RCX);
        let to = self.target(rd, RAX);
        self.a.lea(to, Mem::indexed(a, b, Scale::One, 0));
        self.write(rd, to);
    }

    /// `rd = rs1 op rs2`.
    fn binary(&mut self, op: Alu, rd: u8, rs1: u8, rs2: u8) {
        let to = self.computed(
            rd,
            rs1,
            rs2,
            op != Alu::Sub,
            |emitter, to, other| match other {
                Some(other) => emitter.a.alu(op, to, other),
                None => emitter.a.alu_imm(Width::B64, op, to, 0),
            },
        );
        self.write(rd, to);
    }

    /// Puts `rs1` where `rd` is to be computed and calls `apply` with that and the other operand
    /// (`None` is zero). Returns where the result is.
    fn computed(
        &mut self,
        rd: u8,
        rs1: u8,
        rs2: u8,
        commutes: bool,
        apply: impl FnOnce(&mut Self, Reg, Option<Operand>),
    ) -> Reg {
        let (first, second) = if commutes && rd == rs2 {
            (rs2, rs1)
        } else {
            (rs1, rs2)
        };
        // A destination that is the second operand must not be overwritten by the first.
        let to = if rd == second && rd != first {
            RAX
        } else {
            self.target(rd, RAX)
        };
        self.copy(first, to);
        let other = (second != 0).then(|| self.operand(second));
        apply(self, to, other);
        to
    }

    /// As [`Emitter::binary`] on 32 bits, sign-extended.
    fn binary_word(&mut self, op: Alu, rd: u8, rs1: u8, rs2: u8) {
        let a = self.read(rs1, RAX);
        if a != RAX {
            self.a.mov32(RAX, a);
        }
        if rs2 != 0 {
            let b = self.operand(rs2);
            self.a.alu32(op, RAX, b);
        }
        self.write_word(rd, RAX);
    }

    fn add_immediate_word(&mut self, rd: u8, rs1: u8, imm: i32) {
        if rs1 == 0 {
            return self.constant(rd, i64::from(imm));
        }
        if imm == 0 {
            return self.extension(Width::B32, true, rd, rs1);
        }
        let from = self.read(rs1, RAX);
        self.a.lea32(RAX, Mem::at(from, imm));
        self.write_word(rd, RAX);
    }

    /// Makes the sign-extended low half of `from` the value of `rd`.
    fn write_word(&mut self, rd: u8, from: Reg) {
        let to = self.target(rd, RAX);
        self.a.movsx(to, Width::B32, from);
        self.write(rd, to);
    }

    fn shift(&mut self, width: Width, op: Shift, rd: u8, rs1: u8, imm: i32) {
        let to = self.target(rd, RAX);
        self.copy(rs1, to);
        let bits = if width == Width::B64 { 63 } else { 31 };
        self.a.shift_imm(width, op, to, imm as u8 & bits);
        if width == Width::B32 {
            self.a.movsx(to, Width::B32, to);
        }
        self.write(rd, to);
    }

    fn shift_by(&mut self, width: Width, op: Shift, rd: u8, rs1: u8, rs2: u8) {
        let by = self.read(rs2, RCX);
        let from = if rs1 == 0 {
            self.read(0, RAX).into()
        } else {
            self.operand(rs1)
        };
        let to = self.target(rd, RAX);
        self.a.shift_reg(width, op, to, from, by);
        if width == Width::B32 {
            self.a.movsx(to, Width::B32, to);
        }
        self.write(rd, to);
    }

    fn rotate_by(&mut self, width: Width, op: Shift, rd: u8, rs1: u8, rs2: u8) {
        self.copy(rs2, RCX);
        self.copy(rs1, RAX);
        self.a.shift_cl(width, op, RAX);
        if width == Width::B32 {
            self.a.movsx(RAX, Width::B32, RAX);
        }
        self.write(rd, RAX);
    }

    /// `rd = rs1 cond rs2`, as 0 or 1.
    fn set_if(&mut self, cond: Cond, rd: u8, rs1: u8, rs2: u8) {
        self.compare(rs1, rs2);
        self.write_condition(cond, rd);
    }

    fn set_if_immediate(&mut self, cond: Cond, rd: u8, rs1: u8, imm: i32) {
        let a = self.read(rs1, RAX);
        self.a.alu_imm(Width::B64, Alu::Cmp, a, imm);
        self.write_condition(cond, rd);
    }

    pub(super) fn write_condition(&mut self, cond: Cond, rd: u8) {
        self.a.setcc(cond, RAX);
        let to = self.target(rd, RAX);
        self.a.movzx(to, Width::B8, RAX);
        self.write(rd, to);
    }

    fn multiply(&mut self, width: Width, rd: u8, rs1: u8, rs2: u8) {
        let to = self.computed(rd, rs1, rs2, true, |emitter, to, other| match other {
            Some(other) => emitter.a.imul(width, to, other),
            None => emitter.a.mov_imm(to, 0),
        });
        if width == Width::B32 {
            self.a.movsx(to, Width::B32, to);
        }
        self.write(rd, to);
    }

    fn multiply_high(&mut self, op: Unary, rd: u8, rs1: u8, rs2: u8) {
        let b = self.read(rs2, RCX);
        self.copy(rs1, RAX);
        self.integers.clobber(RDX);
        self.a.unary(Width::B64, op, b);
        self.write(rd, RDX);
    }

    /// Division by zero gives all ones and the dividend, overflow the dividend and zero
    /// (unprivileged spec, "Division Operations"); the host would trap.
    fn divide_signed(&mut self, width: Width, result: Reg, rd: u8, rs1: u8, rs2: u8) {
        self.copy(rs2, RCX);
        self.copy(rs1, RAX);
        self.integers.clobber(RDX);
        // -1 and 0 are the divisors that need care: unsigned(divisor + 1) < 2.
        let a = &mut self.a;
        a.lea(RDX, Mem::at(RCX, 1));
        a.alu_imm(width, Alu::Cmp, RDX, 1);
        let ordinary = a.jcc_short(Cond::Above);
        let zero = a.jcc_short(Cond::NotEqual);
        // By zero.
        a.mov(RDX, RAX);
        a.mov_imm(RAX, -1);
        let done_zero = a.jmp_short();
        a.bind_short(zero);
        // By -1: the negated dividend, which wraps, and nothing left over.
        a.unary(width, Unary::Neg, RAX);
        a.mov_imm(RDX, 0);
        let done_minus = a.jmp_short();
        a.bind_short(ordinary);
        a.sign_extend_rax(width);
        a.unary(width, Unary::Idiv, RCX);
        a.bind_short(done_zero);
        a.bind_short(done_minus);
        self.write_quotient(width, result, rd);
    }

    fn divide_unsigned(&mut self, width: Width, result: Reg, rd: u8, rs1: u8, rs2: u8) {
        self.copy(rs2, RCX);
        self.copy(rs1, RAX);
        self.integers.clobber(RDX);
        let a = &mut self.a;
        if width == Width::B64 {
            a.test(RCX, RCX);
        } else {
            a.test32(RCX, RCX);
        }
        let ordinary = a.jcc_short(Cond::NotEqual);
        a.mov(RDX, RAX);
        a.mov_imm(RAX, -1);
        let done = a.jmp_short();
        a.bind_short(ordinary);
        a.mov_imm(RDX, 0);
        a.unary(width, Unary::Div, RCX);
        a.bind_short(done);
        self.write_quotient(width, result, rd);
    }

    fn write_quotient(&mut self, width: Width, result: Reg, rd: u8) {
        if width == Width::B32 {
            self.a.movsx(result, Width::B32, result);
        }
        self.write(rd, result);
    }

    fn shifted_add(&mut self, scale: Scale, word: bool, rd: u8, rs1: u8, rs2: u8) {
        let index = if word {
            self.extend(RCX, Width::B32, rs1, false);
            RCX
        } else {
            self.read(rs1, RCX)
        };
        let base = self.read(rs2, RAX);
        let to = self.target(rd, RAX);
        self.a.lea(to, Mem::indexed(base, index, scale, 0));
        self.write(rd, to);
    }

    fn and_not(&mut self, rd: u8, rs1: u8, rs2: u8) {
        let inverted = self.read(rs2, RCX);
        let other = if rs1 == 0 {
            self.read(0, RAX).into()
        } else {
            self.operand(rs1)
        };
        let to = self.target(rd, RAX);
        self.a.andn(to, inverted, other);
        self.write(rd, to);
    }

    /// `rd = rs1 op !rs2`.
    fn inverted(&mut self, op: Alu, rd: u8, rs1: u8, rs2: u8) {
        self.copy(rs2, RAX);
        self.a.unary(Width::B64, Unary::Not, RAX);
        if rs1 == 0 {
            self.a.alu_imm(Width::B64, op, RAX, 0);
        } else {
            let other = self.operand(rs1);
            self.a.alu(op, RAX, other);
        }
        self.write(rd, RAX);
    }

    fn count(&mut self, width: Width, op: Count, rd: u8, rs1: u8) {
        let from = if rs1 == 0 {
            self.read(0, RAX).into()
        } else {
            self.operand(rs1)
        };
        let to = self.target(rd, RAX);
        self.a.count(width, op, to, from);
        self.write(rd, to);
    }

    /// The greater one, where `cond` says that the first is less.
    fn select(&mut self, cond: Cond, rd: u8, rs1: u8, rs2: u8) {
        self.copy(rs1, RAX);
        let b = self.read(rs2, RCX);
        self.a.alu(Alu::Cmp, RAX, b);
        self.a.cmov(cond, RAX, b);
        self.write(rd, RAX);
    }

    /// The lesser one.
    fn select_not(&mut self, cond: Cond, rd: u8, rs1: u8, rs2: u8) {
        self.select(cond.inverse(), rd, rs1, rs2);
    }

    fn extension(&mut self, width: Width, signed: bool, rd: u8, rs1: u8) {
        let to = self.target(rd, RAX);
        self.extend(to, width, rs1, signed);
        self.write(rd, to);
    }

    fn extend(&mut self, to: Reg, width: Width, rs1: u8, signed: bool) {
        if rs1 == 0 {
            return self.a.mov_imm(to, 0);
        }
        let from = self.operand(rs1);
        if signed {
            self.a.movsx(to, width, from);
        } else {
            self.a.movzx(to, width, from);
        }
    }

    fn bit(&mut self, op: Bit, rd: u8, rs1: u8, rs2: u8) {
        let index = self.read(rs2, RCX);
        self.copy(rs1, RAX);
        self.a.bit_reg(op, RAX, index);
        self.write(rd, RAX);
    }

    fn bit_immediate(&mut self, op: Bit, rd: u8, rs1: u8, imm: i32) {
        let to = self.target(rd, RAX);
        self.copy(rs1, to);
        self.a.bit_imm(op, to, imm as u8 & 63);
        self.write(rd, to);
    }

    /// `rd = 0` if `rs2` compares so with zero, else `rs1`.
    fn zero_if(&mut self, cond: Cond, rd: u8, rs1: u8, rs2: u8) {
        self.copy(rs1, RAX);
        if rs2 == 0 {
            // Zero equals zero.
            let value = if cond == Cond::Equal { 0 } else { rs1 };
            return self.move_register(rd, value);
        }
        let b = self.operand(rs2);
        // Before the comparison: clearing changes the flags.
        self.a.mov_imm(RCX, 0);
        self.a.alu_imm(Width::B64, Alu::Cmp, b, 0);
        self.a.cmov(cond, RAX, RCX);
        self.write(rd, RAX);
    }
}

/// Whether the interpreter executes an integer operation even when it is translated.
pub(super) fn is_assisted(op: Op) -> bool {
    matches!(
        op,
        Op::Mulhsu | Op::OrcB | Op::Clmul | Op::Clmulh | Op::Clmulr | Op::MopR | Op::MopRr
    )
}
