//! F, D, Zfhmin and Zfa, on the bits in the registers (unprivileged spec, chapters 20 to 22, 24).

use clade_riscv::fp::{self, Round, box_h, box_s, unbox_h, unbox_s};
use clade_riscv::isa::{Inst, Op};
use clade_riscv::trap::Trap;

use super::ILLEGAL;
use crate::core::Core;

const SIGN_S: u32 = 1 << 31;
const SIGN_D: u64 = 1 << 63;

/// What a floating-point instruction produces.
enum Output {
    /// For an `f` register, boxed already.
    Float(u64),
    /// For an `x` register.
    Integer(u64),
}

impl Output {
    fn s(value: u32) -> Self {
        Self::Float(box_s(value))
    }

    fn h(value: u16) -> Self {
        Self::Float(box_h(value))
    }

    /// A 32-bit integer, signed or not, is sign-extended into an `x` register.
    fn w(value: i32) -> Self {
        Self::Integer(value as u64)
    }

    fn bool(value: bool) -> Self {
        Self::Integer(u64::from(value))
    }
}

impl Core {
    fn s(&self, register: u8) -> u32 {
        unbox_s(self.d(register))
    }

    fn d(&self, register: u8) -> u64 {
        self.hart.f[usize::from(register & 31)]
    }

    fn h(&self, register: u8) -> u16 {
        unbox_h(self.d(register))
    }

    fn set_f(&mut self, register: u8, value: u64) {
        self.hart.f[usize::from(register & 31)] = value;
        self.hart.csrs.set_fp_dirty();
    }

    /// The rounding mode of an instruction; a dynamic mode that `frm` does not validly hold is
    /// an illegal instruction.
    fn rounding(&self, inst: &Inst) -> Result<Round, Trap> {
        const DYNAMIC: u8 = 7;
        let bits = if inst.rm == DYNAMIC {
            self.hart.csrs.frm
        } else {
            inst.rm
        };
        Round::from_bits(bits).ok_or(ILLEGAL)
    }

    /// Loads and stores of `f` registers.
    pub(super) fn execute_float_memory(&mut self, inst: &Inst) -> Result<(), Trap> {
        if !self.hart.csrs.fp_enabled() {
            return Err(ILLEGAL);
        }
        let address = self.x(inst.rs1).wrapping_add(inst.imm as u64);
        match inst.op {
            Op::Fld => {
                let value = self.load::<u64>(address)?;
                self.set_f(inst.rd, value);
            }
            Op::Flw => {
                let value = self.load::<u32>(address)?;
                self.set_f(inst.rd, box_s(value));
            }
            Op::Flh => {
                let value = self.load::<u16>(address)?;
                self.set_f(inst.rd, box_h(value));
            }
            // Stores take the low bits as they are, boxed or not.
            Op::Fsd => self.store(address, self.d(inst.rs2))?,
            Op::Fsw => self.store(address, self.d(inst.rs2) as u32)?,
            Op::Fsh => self.store(address, self.d(inst.rs2) as u16)?,
            other => unreachable!("{other:?} does not move an f register"),
        }
        Ok(())
    }

    /// Computes with `f` registers.
    #[inline(never)]
    pub(super) fn execute_float(&mut self, inst: &Inst) -> Result<(), Trap> {
        if !self.hart.csrs.fp_enabled() {
            return Err(ILLEGAL);
        }
        let rounding = self.rounding(inst);
        let accrued = self.hart.csrs.fflags;
        let mut flags = accrued;
        let output = match self.float_single(inst, rounding, &mut flags)? {
            Some(output) => output,
            None => match self.float_double(inst, rounding, &mut flags)? {
                Some(output) => output,
                None => self.float_half(inst, rounding, &mut flags)?,
            },
        };
        if flags != accrued {
            self.hart.csrs.fflags = flags;
            self.hart.csrs.set_fp_dirty();
        }
        match output {
            Output::Float(value) => self.set_f(inst.rd, value),
            Output::Integer(value) => self.set_x(inst.rd, value),
        }
        Ok(())
    }

    /// Single precision, and conversions between single and integers.
    fn float_single(
        &self,
        inst: &Inst,
        rounding: Result<Round, Trap>,
        flags: &mut u8,
    ) -> Result<Option<Output>, Trap> {
        let (a, b, c) = (self.s(inst.rs1), self.s(inst.rs2), self.s(inst.rs3));
        let x = self.x(inst.rs1);
        Ok(Some(match inst.op {
            Op::FaddS => Output::s(fp::add_s(a, b, rounding?, flags)),
            Op::FsubS => Output::s(fp::sub_s(a, b, rounding?, flags)),
            Op::FmulS => Output::s(fp::mul_s(a, b, rounding?, flags)),
            Op::FdivS => Output::s(fp::div_s(a, b, rounding?, flags)),
            Op::FsqrtS => Output::s(fp::sqrt_s(a, rounding?, flags)),
            Op::FmaddS => Output::s(fp::fma_s(a, b, c, rounding?, flags)),
            Op::FmsubS => Output::s(fp::fma_s(a, b, c ^ SIGN_S, rounding?, flags)),
            Op::FnmsubS => Output::s(fp::fma_s(a ^ SIGN_S, b, c, rounding?, flags)),
            Op::FnmaddS => Output::s(fp::fma_s(a ^ SIGN_S, b, c ^ SIGN_S, rounding?, flags)),
            Op::FsgnjS => Output::s(a & !SIGN_S | b & SIGN_S),
            Op::FsgnjnS => Output::s(a & !SIGN_S | !b & SIGN_S),
            Op::FsgnjxS => Output::s(a ^ b & SIGN_S),
            Op::FminS => Output::s(fp::min_s(a, b, flags)),
            Op::FmaxS => Output::s(fp::max_s(a, b, flags)),
            Op::FminmS => Output::s(fp::minm_s(a, b, flags)),
            Op::FmaxmS => Output::s(fp::maxm_s(a, b, flags)),
            Op::FeqS => Output::bool(fp::eq_s(a, b, flags)),
            Op::FltS => Output::bool(fp::lt_s(a, b, flags)),
            Op::FleS => Output::bool(fp::le_s(a, b, flags)),
            Op::FltqS => Output::bool(fp::ltq_s(a, b, flags)),
            Op::FleqS => Output::bool(fp::leq_s(a, b, flags)),
            Op::FclassS => Output::Integer(fp::class_s(a)),
            Op::FcvtWS => Output::w(fp::s_to_i32(a, rounding?, flags)),
            Op::FcvtWuS => Output::w(fp::s_to_u32(a, rounding?, flags) as i32),
            Op::FcvtLS => Output::Integer(fp::s_to_i64(a, rounding?, flags) as u64),
            Op::FcvtLuS => Output::Integer(fp::s_to_u64(a, rounding?, flags)),
            Op::FcvtSW => Output::s(fp::i32_to_s(x as i32, rounding?, flags)),
            Op::FcvtSWu => Output::s(fp::u32_to_s(x as u32, rounding?, flags)),
            Op::FcvtSL => Output::s(fp::i64_to_s(x as i64, rounding?, flags)),
            Op::FcvtSLu => Output::s(fp::u64_to_s(x, rounding?, flags)),
            Op::FmvXW => Output::w(self.d(inst.rs1) as i32),
            Op::FmvWX => Output::s(x as u32),
            Op::FliS => Output::s(fp::fli_s(inst.rs1)),
            Op::FroundS => Output::s(fp::round_s(a, rounding?, flags)),
            Op::FroundnxS => Output::s(fp::roundnx_s(a, rounding?, flags)),
            _ => return Ok(None),
        }))
    }

    /// Double precision, and conversions between double and single or integers.
    fn float_double(
        &self,
        inst: &Inst,
        rounding: Result<Round, Trap>,
        flags: &mut u8,
    ) -> Result<Option<Output>, Trap> {
        let (a, b, c) = (self.d(inst.rs1), self.d(inst.rs2), self.d(inst.rs3));
        let x = self.x(inst.rs1);
        Ok(Some(match inst.op {
            Op::FaddD => Output::Float(fp::add_d(a, b, rounding?, flags)),
            Op::FsubD => Output::Float(fp::sub_d(a, b, rounding?, flags)),
            Op::FmulD => Output::Float(fp::mul_d(a, b, rounding?, flags)),
            Op::FdivD => Output::Float(fp::div_d(a, b, rounding?, flags)),
            Op::FsqrtD => Output::Float(fp::sqrt_d(a, rounding?, flags)),
            Op::FmaddD => Output::Float(fp::fma_d(a, b, c, rounding?, flags)),
            Op::FmsubD => Output::Float(fp::fma_d(a, b, c ^ SIGN_D, rounding?, flags)),
            Op::FnmsubD => Output::Float(fp::fma_d(a ^ SIGN_D, b, c, rounding?, flags)),
            Op::FnmaddD => Output::Float(fp::fma_d(a ^ SIGN_D, b, c ^ SIGN_D, rounding?, flags)),
            Op::FsgnjD => Output::Float(a & !SIGN_D | b & SIGN_D),
            Op::FsgnjnD => Output::Float(a & !SIGN_D | !b & SIGN_D),
            Op::FsgnjxD => Output::Float(a ^ b & SIGN_D),
            Op::FminD => Output::Float(fp::min_d(a, b, flags)),
            Op::FmaxD => Output::Float(fp::max_d(a, b, flags)),
            Op::FminmD => Output::Float(fp::minm_d(a, b, flags)),
            Op::FmaxmD => Output::Float(fp::maxm_d(a, b, flags)),
            Op::FeqD => Output::bool(fp::eq_d(a, b, flags)),
            Op::FltD => Output::bool(fp::lt_d(a, b, flags)),
            Op::FleD => Output::bool(fp::le_d(a, b, flags)),
            Op::FltqD => Output::bool(fp::ltq_d(a, b, flags)),
            Op::FleqD => Output::bool(fp::leq_d(a, b, flags)),
            Op::FclassD => Output::Integer(fp::class_d(a)),
            Op::FcvtWD => Output::w(fp::d_to_i32(a, rounding?, flags)),
            Op::FcvtWuD => Output::w(fp::d_to_u32(a, rounding?, flags) as i32),
            Op::FcvtLD => Output::Integer(fp::d_to_i64(a, rounding?, flags) as u64),
            Op::FcvtLuD => Output::Integer(fp::d_to_u64(a, rounding?, flags)),
            // Every 32-bit integer is a double, but a static reserved mode is still illegal.
            Op::FcvtDW => Output::Float(fp::i32_to_d(x as i32, rounding?, flags)),
            Op::FcvtDWu => Output::Float(fp::u32_to_d(x as u32, rounding?, flags)),
            Op::FcvtDL => Output::Float(fp::i64_to_d(x as i64, rounding?, flags)),
            Op::FcvtDLu => Output::Float(fp::u64_to_d(x, rounding?, flags)),
            Op::FcvtSD => Output::s(fp::d_to_s(a, rounding?, flags)),
            Op::FcvtDS => {
                rounding?;
                Output::Float(fp::s_to_d(self.s(inst.rs1), flags))
            }
            Op::FmvXD => Output::Integer(a),
            Op::FmvDX => Output::Float(x),
            Op::FliD => Output::Float(fp::fli_d(inst.rs1)),
            Op::FroundD => Output::Float(fp::round_d(a, rounding?, flags)),
            Op::FroundnxD => Output::Float(fp::roundnx_d(a, rounding?, flags)),
            Op::FcvtmodWD => Output::w(fp::d_to_i32_mod(a, flags)),
            _ => return Ok(None),
        }))
    }

    /// Half precision: only conversions and moves (Zfhmin).
    fn float_half(
        &self,
        inst: &Inst,
        rounding: Result<Round, Trap>,
        flags: &mut u8,
    ) -> Result<Output, Trap> {
        Ok(match inst.op {
            Op::FcvtSH => {
                rounding?;
                Output::s(fp::h_to_s(self.h(inst.rs1), flags))
            }
            Op::FcvtDH => {
                rounding?;
                Output::Float(fp::h_to_d(self.h(inst.rs1), flags))
            }
            Op::FcvtHS => Output::h(fp::s_to_h(self.s(inst.rs1), rounding?, flags)),
            Op::FcvtHD => Output::h(fp::d_to_h(self.d(inst.rs1), rounding?, flags)),
            Op::FmvXH => Output::Integer(self.d(inst.rs1) as i16 as u64),
            Op::FmvHX => Output::h(self.x(inst.rs1) as u16),
            other => unreachable!("{other:?} is not a floating-point instruction"),
        })
    }
}
