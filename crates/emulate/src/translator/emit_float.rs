//! Floating point, by the host's instructions.
//!
//! MXCSR has the guest's rounding mode and accrued exceptions (`runtime`). Where the architectures
//! differ, as in their NaNs, the interpreter executes the instruction from its beginning. By then
//! no operand has changed, and the host has raised no exception that the guest does not raise.

use clade_riscv::isa::{Inst, Op};

use super::assembler::{
    Alu, Bit, Cond, Label, Mem, Operand, RAX, RCX, Reg, Shift, Unary, Width, Xmm,
};
use super::emit::Emitter;
use super::float_registers::{Format, XMM0, XMM1};
use super::layout::*;

/// `rm` of an instruction that rounds as `frm` says.
pub(super) const DYNAMIC: u8 = 7;
/// `rm` of one that rounds to nearest, ties to even.
pub(super) const NEAREST: u8 = 0;
/// `rm` of one that rounds towards zero.
pub(super) const TO_ZERO: u8 = 1;
/// `rm` of one that rounds towards -∞.
pub(super) const DOWN: u8 = 2;
/// `rm` of one that rounds towards +∞.
pub(super) const UP: u8 = 3;

// Opcodes of the host's arithmetic.
const SQRT: u8 = 0x51;
const ADD: u8 = 0x58;
const MUL: u8 = 0x59;
const SUB: u8 = 0x5c;
const MIN: u8 = 0x5d;
const DIV: u8 = 0x5e;
const MAX: u8 = 0x5f;
const AND: u8 = 0x54;
const OR: u8 = 0x56;

// The host's fused operations: the first operand is multiplied by the second, the third added.
const MADD: u8 = 0xa9;
const MSUB: u8 = 0xab;
const NMADD: u8 = 0xad;
const NMSUB: u8 = 0xaf;

/// Predicates of the host's comparison that raise invalid for a NaN as the guest's do.
#[derive(Debug, Clone, Copy)]
enum Predicate {
    EqualQuiet = 0x00,
    LessSignaling = 0x01,
    LessOrEqualSignaling = 0x02,
    LessQuiet = 0x11,
    LessOrEqualQuiet = 0x12,
}

/// What a sign injection takes the sign from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Second,
    InvertedSecond,
    Both,
}

impl Emitter<'_> {
    pub(super) fn float(&mut self, inst: &Inst) {
        use Format::{Double, Single};
        match inst.op {
            Op::FaddS => self.arithmetic(inst, Single, ADD),
            Op::FsubS => self.arithmetic(inst, Single, SUB),
            Op::FmulS => self.arithmetic(inst, Single, MUL),
            Op::FdivS => self.arithmetic(inst, Single, DIV),
            Op::FsqrtS => self.square_root(inst, Single),
            Op::FmaddS => self.fused(inst, Single, MADD),
            Op::FmsubS => self.fused(inst, Single, MSUB),
            Op::FnmsubS => self.fused(inst, Single, NMADD),
            Op::FnmaddS => self.fused(inst, Single, NMSUB),
            Op::FaddD => self.arithmetic(inst, Double, ADD),
            Op::FsubD => self.arithmetic(inst, Double, SUB),
            Op::FmulD => self.arithmetic(inst, Double, MUL),
            Op::FdivD => self.arithmetic(inst, Double, DIV),
            Op::FsqrtD => self.square_root(inst, Double),
            Op::FmaddD => self.fused(inst, Double, MADD),
            Op::FmsubD => self.fused(inst, Double, MSUB),
            Op::FnmsubD => self.fused(inst, Double, NMADD),
            Op::FnmaddD => self.fused(inst, Double, NMSUB),

            Op::FminS => self.extremum(inst, Single, MIN, OR),
            Op::FmaxS => self.extremum(inst, Single, MAX, AND),
            Op::FminD => self.extremum(inst, Double, MIN, OR),
            Op::FmaxD => self.extremum(inst, Double, MAX, AND),

            Op::FeqS => self.float_compare(inst, Single, Predicate::EqualQuiet),
            Op::FltS => self.float_compare(inst, Single, Predicate::LessSignaling),
            Op::FleS => self.float_compare(inst, Single, Predicate::LessOrEqualSignaling),
            Op::FltqS => self.float_compare(inst, Single, Predicate::LessQuiet),
            Op::FleqS => self.float_compare(inst, Single, Predicate::LessOrEqualQuiet),
            Op::FeqD => self.float_compare(inst, Double, Predicate::EqualQuiet),
            Op::FltD => self.float_compare(inst, Double, Predicate::LessSignaling),
            Op::FleD => self.float_compare(inst, Double, Predicate::LessOrEqualSignaling),
            Op::FltqD => self.float_compare(inst, Double, Predicate::LessQuiet),
            Op::FleqD => self.float_compare(inst, Double, Predicate::LessOrEqualQuiet),

            Op::FsgnjS => self.inject_sign(inst, Single, Sign::Second),
            Op::FsgnjnS => self.inject_sign(inst, Single, Sign::InvertedSecond),
            Op::FsgnjxS => self.inject_sign(inst, Single, Sign::Both),
            Op::FsgnjD => self.inject_sign(inst, Double, Sign::Second),
            Op::FsgnjnD => self.inject_sign(inst, Double, Sign::InvertedSecond),
            Op::FsgnjxD => self.inject_sign(inst, Double, Sign::Both),

            Op::FmvXW => self.move_to_integer(inst, Single),
            Op::FmvXD => self.move_to_integer(inst, Double),
            Op::FmvWX => self.move_from_integer(inst, Single),
            Op::FmvDX => self.move_from_integer(inst, Double),

            _ => self.convert(inst),
        }
    }

    pub(super) fn float_load(&mut self, inst: &Inst) {
        let format = match inst.op {
            Op::Flw => Format::Single,
            Op::Fld => Format::Double,
            _ => return self.assist_float(inst),
        };
        self.check_float();
        let found = self.locate_load(inst, format.width());
        let to = self.floats.allocate();
        self.a.load_float(format, to, found.mem);
        self.write_float(inst.rd, format, to);
        self.accessed(&found);
    }

    /// Stores take the low bits as they are, boxed or not.
    pub(super) fn float_store(&mut self, inst: &Inst) {
        let format = match inst.op {
            Op::Fsw => Format::Single,
            Op::Fsd => Format::Double,
            _ => return self.assist(),
        };
        self.check_float();
        let found = self.locate_store(inst, format.width());
        match self.floats.find(inst.rs2, format) {
            Some(value) => self.a.store_float(format, found.mem, value),
            None => {
                self.a.mov(RCX, f_slot(inst.rs2));
                self.a.store(format.width(), found.mem, RCX);
            }
        }
        self.accessed(&found);
    }

    // Arithmetic.

    fn arithmetic(&mut self, inst: &Inst, format: Format, opcode: u8) {
        if !self.sees_rounding(inst) {
            return self.assist_float(inst);
        }
        let (nan, resume) = self.assist_stub();
        let a = self.float_register(inst.rs1, format);
        let b = self.float_operand(inst.rs2, format);
        let to = self.floats.allocate();
        self.a.scalar(format, opcode, to, a, b);
        self.write_unless_nan(inst.rd, format, to, nan);
        self.a.bind(resume);
    }

    fn square_root(&mut self, inst: &Inst, format: Format) {
        if !self.sees_rounding(inst) {
            return self.assist_float(inst);
        }
        let (nan, resume) = self.assist_stub();
        let a = self.float_register(inst.rs1, format);
        let to = self.floats.allocate();
        self.a.scalar(format, SQRT, to, a, a);
        self.write_unless_nan(inst.rd, format, to, nan);
        self.a.bind(resume);
    }

    fn fused(&mut self, inst: &Inst, format: Format, opcode: u8) {
        if !self.sees_rounding(inst) {
            return self.assist_float(inst);
        }
        let (nan, resume) = self.assist_stub();
        let a = self.float_operand(inst.rs1, format);
        let b = self.float_register(inst.rs2, format);
        let c = self.float_operand(inst.rs3, format);
        let to = self.floats.allocate();
        self.a.move_float(format, to, a);
        self.a.fused(format, opcode, to, b, c);
        self.write_unless_nan(inst.rd, format, to, nan);
        self.a.bind(resume);
    }

    /// `fmin` and `fmax`. The host gives its second operand when they are equal, as zeros of
    /// different signs are; `merge` makes one of both.
    fn extremum(&mut self, inst: &Inst, format: Format, opcode: u8, merge: u8) {
        self.check_float();
        let (nan, resume) = self.assist_stub();
        let a = self.float_register(inst.rs1, format);
        let b = self.float_register(inst.rs2, format);
        let to = self.floats.allocate();
        self.a.compare_float(format, a, b);
        self.a.jcc(Cond::Parity, nan);
        self.a.scalar(format, opcode, XMM0, a, b);
        self.a.scalar(format, opcode, XMM1, b, a);
        self.a.bitwise_float(merge, to, XMM0, XMM1);
        self.write_float(inst.rd, format, to);
        self.a.bind(resume);
    }

    fn float_compare(&mut self, inst: &Inst, format: Format, predicate: Predicate) {
        self.check_float();
        let a = self.float_register(inst.rs1, format);
        let b = self.float_operand(inst.rs2, format);
        let to = self.target(inst.rd, RAX);
        self.a.compare_mask(format, XMM0, a, b, predicate as u8);
        self.a.float_bits(Width::B32, to, XMM0);
        self.a.alu_imm(Width::B32, Alu::And, to, 1);
        self.write(inst.rd, to);
    }

    // Signs and moves, which are not arithmetic: no exceptions, and NaNs stay as they are.

    fn inject_sign(&mut self, inst: &Inst, format: Format, sign: Sign) {
        self.check_float();
        if sign == Sign::Second && inst.rs1 == inst.rs2 {
            return self.move_value(inst.rd, inst.rs1, format);
        }
        self.see_boxed(inst.rs1, format);
        self.see_boxed(inst.rs2, format);
        self.read_bits(inst.rs1, format, RAX);
        if inst.rs1 == inst.rs2 {
            let change = match sign {
                Sign::Both => Bit::Reset,
                _ => Bit::Complement,
            };
            self.a.bit_imm(change, RAX, format.sign_bit());
        } else {
            self.read_bits(inst.rs2, format, RCX);
            if sign == Sign::InvertedSecond {
                self.a.unary(format.width(), Unary::Not, RCX);
            }
            let (width, magnitude) = (format.width(), format.sign_bit());
            self.a.shift_imm(width, Shift::Shr, RCX, magnitude);
            self.a.shift_imm(width, Shift::Shl, RCX, magnitude);
            if sign == Sign::Both {
                self.a.alu(Alu::Xor, RAX, RCX);
            } else {
                self.a.bit_imm(Bit::Reset, RAX, magnitude);
                self.a.alu(Alu::Or, RAX, RCX);
            }
        }
        self.write_bits(inst.rd, format);
    }

    fn move_value(&mut self, rd: u8, rs: u8, format: Format) {
        let from = self.float_operand(rs, format);
        let to = self.floats.allocate();
        self.a.move_float(format, to, from);
        self.write_float(rd, format, to);
    }

    fn move_to_integer(&mut self, inst: &Inst, format: Format) {
        self.check_float();
        let to = self.target(inst.rd, RAX);
        self.a.movsx(to, format.width(), f_slot(inst.rs1));
        self.write(inst.rd, to);
    }

    fn move_from_integer(&mut self, inst: &Inst, format: Format) {
        self.check_float();
        self.copy(inst.rs1, RAX);
        self.write_bits(inst.rd, format);
    }

    // Modes.

    /// Sees once in a block that floating-point instructions may run as they are: their state is
    /// dirty already, and the host has the guest's rounding mode.
    pub(super) fn check_float(&mut self) {
        if !std::mem::replace(&mut self.floats.ready, true) {
            self.a.alu_imm(Width::B8, Alu::Cmp, FLOAT_READY, 0);
            self.leave_if(Cond::Equal);
        }
    }

    /// As [`Emitter::check_float`], and that the guest rounds to nearest.
    pub(super) fn check_nearest(&mut self) {
        self.check_float();
        if !std::mem::replace(&mut self.floats.nearest, true) {
            self.a.test_imm32(GUEST_MXCSR, MXCSR_ROUNDING);
            self.leave_if(Cond::NotEqual);
        }
    }

    /// Sees that the host rounds as the instruction asks for; false when nobody knows.
    pub(super) fn sees_rounding(&mut self, inst: &Inst) -> bool {
        match inst.rm {
            DYNAMIC => self.check_float(),
            NEAREST => self.check_nearest(),
            _ => return false,
        }
        true
    }

    /// Has the interpreter execute an instruction that may write an `f` register.
    pub(super) fn assist_float(&mut self, inst: &Inst) {
        self.assist();
        self.floats.set_boxed(inst.rd, false);
    }

    // Registers.

    /// Where the value of `f` can be read.
    pub(super) fn float_operand(&mut self, f: u8, format: Format) -> Operand {
        self.see_boxed(f, format);
        match self.floats.find(f, format) {
            Some(xmm) => xmm.into(),
            None => f_slot(f).into(),
        }
    }

    /// A host register with the value of `f`.
    pub(super) fn float_register(&mut self, f: u8, format: Format) -> Xmm {
        self.see_boxed(f, format);
        self.floats.find(f, format).unwrap_or_else(|| {
            let xmm = self.floats.allocate();
            self.a.load_float(format, xmm, f_slot(f));
            self.floats.hold(xmm, f, format);
            xmm
        })
    }

    /// Sees that `f` can be read as what it is in memory. Where a single is not boxed it is the
    /// canonical NaN instead: the interpreter's business, and what follows may assume a boxed one.
    fn see_boxed(&mut self, f: u8, format: Format) {
        if format == Format::Single && !self.floats.is_boxed(f) {
            self.a.alu_imm(Width::B32, Alu::Cmp, upper_half(f), -1);
            self.leave_if(Cond::NotEqual);
            self.floats.set_boxed(f, true);
        }
    }

    /// Puts the bits of `f` into an integer register, zero-extended.
    pub(super) fn read_bits(&mut self, f: u8, format: Format, to: Reg) {
        match self.floats.find(f, format) {
            Some(xmm) => self.a.float_bits(format.width(), to, xmm),
            None => self.a.movzx(to, format.width(), f_slot(f)),
        }
    }

    /// Makes the low bits of `rax` the value of `f`.
    pub(super) fn write_bits(&mut self, f: u8, format: Format) {
        self.a.store(format.width(), f_slot(f), RAX);
        self.box_upper(f, format);
        self.floats.forget(f);
    }

    /// Makes `xmm`, which was allocated for that, the value of `f`.
    pub(super) fn write_float(&mut self, f: u8, format: Format, xmm: Xmm) {
        self.a.store_float(format, f_slot(f), xmm);
        self.box_upper(f, format);
        self.floats.forget(f);
        self.floats.hold(xmm, f, format);
    }

    /// As [`Emitter::write_float`], but goes to `nan` if it is one.
    pub(super) fn write_unless_nan(&mut self, f: u8, format: Format, xmm: Xmm, nan: Label) {
        self.a.compare_float(format, xmm, xmm);
        self.a.jcc(Cond::Parity, nan);
        self.write_float(f, format, xmm);
    }

    fn box_upper(&mut self, f: u8, format: Format) {
        let single = format == Format::Single;
        if single && !self.floats.is_boxed(f) {
            self.a.store_imm(Width::B32, upper_half(f), -1);
        }
        self.floats.set_boxed(f, single);
    }
}

fn upper_half(f: u8) -> Mem {
    let slot = f_slot(f);
    Mem {
        disp: slot.disp + 4,
        ..slot
    }
}
