//! Conversions between floating-point formats and integers.

use clade_riscv::fp;
use clade_riscv::isa::{Inst, Op};

use super::assembler::{Alu, Cond, RAX, RCX, Shift, Width};
use super::emit::Emitter;
use super::emit_float::{DOWN, DYNAMIC, NEAREST, TO_ZERO, UP};
use super::float_registers::{Format, XMM0};

// Opcodes of the host's conversions.
const FROM_INTEGER: u8 = 0x2a;
const TRUNCATE: u8 = 0x2c;
const TO_INTEGER: u8 = 0x2d;
const TO_OTHER_FORMAT: u8 = 0x5a;

/// The integer of a conversion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Integer {
    I32,
    U32,
    I64,
    U64,
}

/// What the host's rounding to an integer does about the inexact exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inexact {
    Raised = 0,
    Ignored = 8,
}

/// How the host's rounding to an integer names a rounding mode.
fn host_rounding(rm: u8) -> Option<u8> {
    const AS_MXCSR: u8 = 4;
    match rm {
        NEAREST => Some(0),
        TO_ZERO => Some(3),
        DOWN => Some(1),
        UP => Some(2),
        DYNAMIC => Some(AS_MXCSR),
        _ => None,
    }
}

impl Emitter<'_> {
    pub(super) fn convert(&mut self, inst: &Inst) {
        use Format::{Double, Single};
        use Integer::{I32, I64, U32, U64};
        match inst.op {
            Op::FcvtSD => self.convert_format(inst, Double, Single),
            Op::FcvtDS => self.convert_format(inst, Single, Double),
            Op::FcvtWS => self.convert_to_integer(inst, Single, I32),
            Op::FcvtWuS => self.convert_to_integer(inst, Single, U32),
            Op::FcvtLS => self.convert_to_integer(inst, Single, I64),
            Op::FcvtLuS => self.convert_to_integer(inst, Single, U64),
            Op::FcvtWD => self.convert_to_integer(inst, Double, I32),
            Op::FcvtWuD => self.convert_to_integer(inst, Double, U32),
            Op::FcvtLD => self.convert_to_integer(inst, Double, I64),
            Op::FcvtLuD => self.convert_to_integer(inst, Double, U64),
            Op::FcvtSW => self.convert_from_integer(inst, I32, Single),
            Op::FcvtSWu => self.convert_from_integer(inst, U32, Single),
            Op::FcvtSL => self.convert_from_integer(inst, I64, Single),
            Op::FcvtSLu => self.convert_from_integer(inst, U64, Single),
            Op::FcvtDW => self.convert_from_integer(inst, I32, Double),
            Op::FcvtDWu => self.convert_from_integer(inst, U32, Double),
            Op::FcvtDL => self.convert_from_integer(inst, I64, Double),
            Op::FcvtDLu => self.convert_from_integer(inst, U64, Double),
            Op::FroundS => self.round(inst, Single, Inexact::Ignored),
            Op::FroundnxS => self.round(inst, Single, Inexact::Raised),
            Op::FroundD => self.round(inst, Double, Inexact::Ignored),
            Op::FroundnxD => self.round(inst, Double, Inexact::Raised),
            Op::FliS => self.float_constant(inst.rd, Single, fp::fli_s(inst.rs1).into()),
            Op::FliD => self.float_constant(inst.rd, Double, fp::fli_d(inst.rs1)),
            _ => self.assist_float(inst),
        }
    }

    fn float_constant(&mut self, f: u8, format: Format, bits: u64) {
        self.check_float();
        self.a.mov_imm(RAX, bits as i64);
        self.write_bits(f, format);
    }

    /// To an integer in the same format.
    fn round(&mut self, inst: &Inst, format: Format, inexact: Inexact) {
        let Some(mode) = host_rounding(inst.rm) else {
            return self.assist_float(inst);
        };
        self.check_float();
        let (nan, resume) = self.assist_stub();
        let a = self.float_register(inst.rs1, format);
        let to = self.floats.allocate();
        self.a.round_float(format, to, a, mode | inexact as u8);
        self.write_unless_nan(inst.rd, format, to, nan);
        self.a.bind(resume);
    }

    fn convert_format(&mut self, inst: &Inst, from: Format, to: Format) {
        if to == Format::Double {
            // Exact, whatever the rounding mode.
            self.check_float();
        } else if !self.sees_rounding(inst) {
            return self.assist_float(inst);
        }
        let (nan, resume) = self.assist_stub();
        let a = self.float_register(inst.rs1, from);
        let result = self.floats.allocate();
        self.a.scalar(from, TO_OTHER_FORMAT, result, a, a);
        self.write_unless_nan(inst.rd, to, result, nan);
        self.a.bind(resume);
    }

    fn convert_to_integer(&mut self, inst: &Inst, format: Format, integer: Integer) {
        let opcode = match inst.rm {
            TO_ZERO => TRUNCATE,
            _ => TO_INTEGER,
        };
        match inst.rm {
            DYNAMIC | TO_ZERO => self.check_float(),
            NEAREST => self.check_nearest(),
            _ => return self.convert_by_rounding(inst, format, integer),
        }
        match integer {
            Integer::I32 => self.convert_to_signed(inst, format, opcode, Width::B32),
            Integer::I64 => self.convert_to_signed(inst, format, opcode, Width::B64),
            Integer::U32 => {
                // Doubles may be rounded up, to beyond the range even.
                let exact_bits = match (format, opcode) {
                    (Format::Double, TO_INTEGER) => 31,
                    _ => 32,
                };
                self.convert_to_unsigned(inst, format, opcode, exact_bits);
            }
            Integer::U64 => self.convert_to_unsigned(inst, format, opcode, 63),
        }
    }

    /// In a rounding mode that is not the host's at the moment.
    fn convert_by_rounding(&mut self, inst: &Inst, format: Format, integer: Integer) {
        let width = match integer {
            Integer::I32 => Width::B32,
            Integer::I64 => Width::B64,
            Integer::U32 | Integer::U64 => return self.assist_float(inst),
        };
        let Some(mode) = host_rounding(inst.rm) else {
            return self.assist_float(inst);
        };
        self.check_float();
        let (invalid, resume) = self.assist_stub();
        let a = self.float_register(inst.rs1, format);
        let to = self.target(inst.rd, RAX);
        self.a
            .round_float(format, XMM0, a, mode | Inexact::Ignored as u8);
        self.a
            .scalar_integer(format, TRUNCATE, width, (to.0, 0), XMM0);
        self.a.alu_imm(width, Alu::Cmp, to, 1);
        self.a.jcc(Cond::Overflow, invalid);
        // What is out of range is not inexact: only now can that be known.
        self.a
            .round_float(format, XMM0, a, mode | Inexact::Raised as u8);
        self.a.movsx(to, width, to);
        self.write(inst.rd, to);
        self.a.bind(resume);
    }

    /// The host gives the least integer for what is out of range.
    fn convert_to_signed(&mut self, inst: &Inst, format: Format, opcode: u8, width: Width) {
        let (invalid, resume) = self.assist_stub();
        let a = self.float_operand(inst.rs1, format);
        let to = self.target(inst.rd, RAX);
        self.a.scalar_integer(format, opcode, width, (to.0, 0), a);
        // Only the least integer overflows.
        self.a.alu_imm(width, Alu::Cmp, to, 1);
        self.a.jcc(Cond::Overflow, invalid);
        self.a.movsx(to, width, to);
        self.write(inst.rd, to);
        self.a.bind(resume);
    }

    /// What is negative, or not below 2 to the power of `bits`, is for the interpreter, before
    /// the host sees it: it would raise inexact where the guest raises invalid alone.
    fn convert_to_unsigned(&mut self, inst: &Inst, format: Format, opcode: u8, bits: i32) {
        let (unusual, resume) = self.assist_stub();
        let a = self.float_operand(inst.rs1, format);
        let to = self.target(inst.rd, RAX);
        // Sign and exponent.
        self.read_bits(inst.rs1, format, RCX);
        self.a
            .shift_imm(format.width(), Shift::Shr, RCX, format.fraction_bits());
        self.a
            .alu_imm(Width::B32, Alu::Cmp, RCX, format.bias() + bits);
        self.a.jcc(Cond::AboveEqual, unusual);
        self.a
            .scalar_integer(format, opcode, Width::B64, (to.0, 0), a);
        if bits <= 32 {
            self.a.movsx(to, Width::B32, to);
        }
        self.write(inst.rd, to);
        self.a.bind(resume);
    }

    fn convert_from_integer(&mut self, inst: &Inst, integer: Integer, format: Format) {
        let exact = format == Format::Double && matches!(integer, Integer::I32 | Integer::U32);
        if exact || inst.rs1 == 0 {
            self.check_float();
        } else if !self.sees_rounding(inst) {
            return self.assist_float(inst);
        }
        if inst.rs1 == 0 {
            self.a.mov_imm(RAX, 0);
            return self.write_bits(inst.rd, format);
        }
        let (unusual, resume) = self.assist_stub();
        let from = match integer {
            Integer::I32 | Integer::I64 => self.operand(inst.rs1),
            Integer::U32 => {
                let from = self.operand(inst.rs1);
                self.a.mov32(RAX, from);
                RAX.into()
            }
            Integer::U64 => {
                let from = self.read(inst.rs1, RAX);
                self.a.test(from, from);
                self.a.jcc(Cond::Sign, unusual);
                from.into()
            }
        };
        let to = self.floats.allocate();
        // The conversion keeps the upper bits, and would wait for them.
        self.a.clear_float(to);
        let width = match integer {
            Integer::I32 => Width::B32,
            _ => Width::B64,
        };
        self.a
            .scalar_integer(format, FROM_INTEGER, width, (to.0, to.0), from);
        self.write_float(inst.rd, format, to);
        self.a.bind(resume);
    }
}
