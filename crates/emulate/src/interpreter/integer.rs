//! The less common integer instructions: M, Zba, Zbb, Zbc, Zbs, Zicond.

use clade_riscv::isa::{Inst, Op};

use crate::core::Core;

impl Core {
    /// Executes an instruction that only computes.
    pub(super) fn execute_integer(&mut self, inst: &Inst) {
        let a = self.x(inst.rs1);
        let b = self.x(inst.rs2);
        let imm = inst.imm as u32;
        let value = match inst.op {
            Op::Sllw => sign_extend((a as u32) << (b & 31)),
            Op::Srlw => sign_extend((a as u32) >> (b & 31)),
            Op::Sraw => ((a as i32) >> (b & 31)) as u64,

            Op::Mulh => ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64,
            Op::Mulhu => ((u128::from(a) * u128::from(b)) >> 64) as u64,
            Op::Mulhsu => ((i128::from(a as i64) * i128::from(b)) >> 64) as u64,
            Op::Div if b == 0 => u64::MAX,
            Op::Div => (a as i64).wrapping_div(b as i64) as u64,
            Op::Divu => a.checked_div(b).unwrap_or(u64::MAX),
            Op::Rem if b == 0 => a,
            Op::Rem => (a as i64).wrapping_rem(b as i64) as u64,
            Op::Remu => a.checked_rem(b).unwrap_or(a),
            Op::Divw if b as u32 == 0 => u64::MAX,
            Op::Divw => (a as i32).wrapping_div(b as i32) as u64,
            Op::Divuw => sign_extend((a as u32).checked_div(b as u32).unwrap_or(u32::MAX)),
            Op::Remw if b as u32 == 0 => sign_extend(a as u32),
            Op::Remw => (a as i32).wrapping_rem(b as i32) as u64,
            Op::Remuw => sign_extend((a as u32).checked_rem(b as u32).unwrap_or(a as u32)),

            Op::AddUw => u64::from(a as u32).wrapping_add(b),
            Op::Sh1add => (a << 1).wrapping_add(b),
            Op::Sh2add => (a << 2).wrapping_add(b),
            Op::Sh3add => (a << 3).wrapping_add(b),
            Op::Sh1addUw => (u64::from(a as u32) << 1).wrapping_add(b),
            Op::Sh2addUw => (u64::from(a as u32) << 2).wrapping_add(b),
            Op::Sh3addUw => (u64::from(a as u32) << 3).wrapping_add(b),
            Op::SlliUw => u64::from(a as u32) << (imm & 63),

            Op::Andn => a & !b,
            Op::Orn => a | !b,
            Op::Xnor => !(a ^ b),
            Op::Clz => u64::from(a.leading_zeros()),
            Op::Ctz => u64::from(a.trailing_zeros()),
            Op::Cpop => u64::from(a.count_ones()),
            Op::Clzw => u64::from((a as u32).leading_zeros()),
            Op::Ctzw => u64::from((a as u32).trailing_zeros()),
            Op::Cpopw => u64::from((a as u32).count_ones()),
            Op::Min => (a as i64).min(b as i64) as u64,
            Op::Minu => a.min(b),
            Op::Max => (a as i64).max(b as i64) as u64,
            Op::Maxu => a.max(b),
            Op::SextB => a as i8 as u64,
            Op::SextH => a as i16 as u64,
            Op::ZextH => u64::from(a as u16),
            Op::Rol => a.rotate_left(b as u32 & 63),
            Op::Ror => a.rotate_right(b as u32 & 63),
            Op::Rori => a.rotate_right(imm & 63),
            Op::Rolw => sign_extend((a as u32).rotate_left(b as u32 & 31)),
            Op::Rorw => sign_extend((a as u32).rotate_right(b as u32 & 31)),
            Op::Roriw => sign_extend((a as u32).rotate_right(imm & 31)),
            Op::OrcB => or_combine(a),
            Op::Rev8 => a.swap_bytes(),

            Op::Clmul => carryless_multiply(a, b) as u64,
            Op::Clmulh => (carryless_multiply(a, b) >> 64) as u64,
            Op::Clmulr => (carryless_multiply(a, b) >> 63) as u64,

            Op::Bclr => a & !(1 << (b & 63)),
            Op::Bclri => a & !(1 << (imm & 63)),
            Op::Bext => a >> (b & 63) & 1,
            Op::Bexti => a >> (imm & 63) & 1,
            Op::Binv => a ^ 1 << (b & 63),
            Op::Binvi => a ^ 1 << (imm & 63),
            Op::Bset => a | 1 << (b & 63),
            Op::Bseti => a | 1 << (imm & 63),

            Op::CzeroEqz if b == 0 => 0,
            Op::CzeroNez if b != 0 => 0,
            Op::CzeroEqz | Op::CzeroNez => a,
            // Zimop: may-be-operations write zero until an extension gives them a meaning.
            Op::MopR | Op::MopRr => 0,
            other => unreachable!("{other:?} is not an integer instruction"),
        };
        self.set_x(inst.rd, value);
    }
}

fn sign_extend(value: u32) -> u64 {
    value as i32 as u64
}

/// Each byte becomes 0xff unless it is 0 (`orc.b`).
fn or_combine(value: u64) -> u64 {
    value
        .to_le_bytes()
        .into_iter()
        .rev()
        .fold(0, |word, byte| word << 8 | if byte == 0 { 0 } else { 0xff })
}

fn carryless_multiply(a: u64, b: u64) -> u128 {
    (0..64)
        .filter(|i| b >> i & 1 != 0)
        .fold(0, |product, i| product ^ u128::from(a) << i)
}
