//! Scalar floating-point instructions, all in their VEX forms: those leave nothing of the
//! destination to wait for that is not named, and read unaligned memory.

use super::assembler::{Assembler, Map, Mem, Operand, Reg, Simd, Width, Xmm};
use super::float_registers::Format;

impl Assembler {
    /// `dst = [mem]`, zeros above.
    pub(super) fn load_float(&mut self, format: Format, dst: Xmm, mem: Mem) {
        self.vex(format.scalar(), Map::M0F, false, 0x10, dst.0, 0, mem);
    }

    pub(super) fn store_float(&mut self, format: Format, mem: Mem, src: Xmm) {
        self.vex(format.scalar(), Map::M0F, false, 0x11, src.0, 0, mem);
    }

    pub(super) fn move_float(&mut self, format: Format, dst: Xmm, src: Operand) {
        match src {
            Operand::Reg(_) => self.vex(Simd::None, Map::M0F, false, 0x28, dst.0, 0, src),
            Operand::Mem(mem) => self.load_float(format, dst, mem),
        }
    }

    /// `dst = 0`.
    pub(super) fn clear_float(&mut self, dst: Xmm) {
        self.vex(Simd::None, Map::M0F, false, 0x57, dst.0, dst.0, dst);
    }

    /// `dst = a op b`; an instruction of one operand has `b`, and `a` gives the bits above.
    pub(super) fn scalar(
        &mut self,
        format: Format,
        opcode: u8,
        dst: Xmm,
        a: Xmm,
        b: impl Into<Operand>,
    ) {
        self.vex(format.scalar(), Map::M0F, false, opcode, dst.0, a.0, b);
    }

    /// As [`Assembler::scalar`] for an integer `b`, or for an integer register `dst`, of `width`.
    pub(super) fn scalar_integer(
        &mut self,
        format: Format,
        opcode: u8,
        width: Width,
        (dst, a): (u8, u8),
        b: impl Into<Operand>,
    ) {
        let wide = width == Width::B64;
        self.vex(format.scalar(), Map::M0F, wide, opcode, dst, a, b);
    }

    /// `dst = dst * a op b`, rounded once (FMA3, the forms with 213 in their names).
    pub(super) fn fused(
        &mut self,
        format: Format,
        opcode: u8,
        dst: Xmm,
        a: Xmm,
        b: impl Into<Operand>,
    ) {
        let wide = format == Format::Double;
        self.vex(Simd::P66, Map::M0F38, wide, opcode, dst.0, a.0, b);
    }

    /// `dst = a op b` on all bits.
    pub(super) fn bitwise_float(&mut self, opcode: u8, dst: Xmm, a: Xmm, b: Xmm) {
        self.vex(Simd::None, Map::M0F, false, opcode, dst.0, a.0, b);
    }

    /// Sets flags as for unsigned integers, and parity when one is a NaN; invalid only when that
    /// is a signaling one.
    pub(super) fn compare_float(&mut self, format: Format, a: Xmm, b: impl Into<Operand>) {
        self.vex(format.packed(), Map::M0F, false, 0x2e, a.0, 0, b);
    }

    /// `dst = a predicate b`, as all ones or zeros.
    pub(super) fn compare_mask(
        &mut self,
        format: Format,
        dst: Xmm,
        a: Xmm,
        b: impl Into<Operand>,
        predicate: u8,
    ) {
        self.vex(format.scalar(), Map::M0F, false, 0xc2, dst.0, a.0, b);
        self.imm8(predicate);
    }

    /// `dst = src rounded to an integer`; `mode` is the immediate byte (`roundss`, `roundsd`).
    pub(super) fn round_float(&mut self, format: Format, dst: Xmm, src: Xmm, mode: u8) {
        let opcode = match format {
            Format::Single => 0x0a,
            Format::Double => 0x0b,
        };
        self.vex(Simd::P66, Map::M0F3A, false, opcode, dst.0, src.0, src);
        self.imm8(mode);
    }

    /// `dst = low bits of src`, zero-extended.
    pub(super) fn float_bits(&mut self, width: Width, dst: Reg, src: Xmm) {
        let wide = width == Width::B64;
        self.vex(Simd::P66, Map::M0F, wide, 0x7e, src.0, 0, dst);
    }
}

#[cfg(test)]
mod tests;
