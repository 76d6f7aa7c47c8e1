//! IEEE 754 arithmetic exactly as the F, D, Zfhmin and Zfa extensions define it.
//!
//! Every function is a pure function over bit patterns: operands and result are the raw bits of a
//! binary16 (`_h`), binary32 (`_s`) or binary64 (`_d`) value, and the exceptions that the operation
//! raises are ORed into `flags`, whose layout is that of `fflags` (see [`flags`]). NaN results are
//! the canonical NaN; tininess is detected after rounding (unprivileged spec, chapters "F" and "D").
//!
//! Pass the hart's accumulated `fflags`, not a fresh byte: once `NX` is set, as it is soon after any
//! program starts to compute, most operations need not learn whether they were exact, and cost no
//! more than the host's own instruction.
//!
//! There are three ways to a result, and they agree bit for bit:
//!
//! 1. the host's operators, where nothing but an already set `NX` can come of it;
//! 2. on x86-64, the host's FPU under a control register of our own, read back for its flags;
//! 3. [`soft`], exact integer arithmetic: every other host, and rounding mode RMM everywhere.

mod arith;
mod compare;
mod convert;
mod format;
#[cfg(target_arch = "x86_64")]
mod mxcsr;
pub mod soft;

pub use arith::{
    add_d, add_s, div_d, div_s, fma_d, fma_s, mul_d, mul_s, sqrt_d, sqrt_s, sub_d, sub_s,
};
pub use compare::{
    class_d, class_s, eq_d, eq_s, le_d, le_s, leq_d, leq_s, lt_d, lt_s, ltq_d, ltq_s, max_d, max_s,
    maxm_d, maxm_s, min_d, min_s, minm_d, minm_s,
};
pub use convert::{
    d_to_i32, d_to_i64, d_to_s, d_to_u32, d_to_u64, fli_d, fli_h, fli_s, i32_to_d, i32_to_s,
    i64_to_d, i64_to_s, s_to_d, s_to_i32, s_to_i64, s_to_u32, s_to_u64, u32_to_d, u32_to_s,
    u64_to_d, u64_to_s,
};
pub use soft::{
    d_to_h, d_to_i32_mod, h_to_d, h_to_s, round_d, round_s, roundnx_d, roundnx_s, s_to_h,
};

/// The accrued-exception flags, as they lie in `fflags` (unprivileged spec, "Floating-Point Control
/// and Status Register").
pub mod flags {
    /// Inexact: the result was rounded.
    pub const NX: u8 = 1;
    /// Underflow: the result is tiny and was rounded.
    pub const UF: u8 = 2;
    /// Overflow: the rounded result exceeds the largest finite number.
    pub const OF: u8 = 4;
    /// Divide by zero: an exact infinity from finite operands.
    pub const DZ: u8 = 8;
    /// Invalid operation.
    pub const NV: u8 = 16;
}

/// A rounding mode, with the encoding of `frm` and of an instruction's `rm` field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Round {
    /// To nearest, ties to even.
    Rne = 0,
    /// Towards zero.
    Rtz = 1,
    /// Down, towards -∞.
    Rdn = 2,
    /// Up, towards +∞.
    Rup = 3,
    /// To nearest, ties to the greater magnitude.
    Rmm = 4,
}

impl Round {
    /// Every rounding mode, in the order of the encoding.
    pub const ALL: [Self; 5] = [Self::Rne, Self::Rtz, Self::Rdn, Self::Rup, Self::Rmm];

    /// The mode that the three bits of `frm` or `rm` name; `None` for the reserved encodings 5 and 6
    /// and for 7 (dynamic), which the caller resolves first.
    #[inline]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Rne),
            1 => Some(Self::Rtz),
            2 => Some(Self::Rdn),
            3 => Some(Self::Rup),
            4 => Some(Self::Rmm),
            _ => None,
        }
    }
}

/// The NaN that every binary16 operation produces.
pub const CANONICAL_NAN_H: u16 = 0x7e00;
/// The NaN that every binary32 operation produces.
pub const CANONICAL_NAN_S: u32 = 0x7fc0_0000;
/// The NaN that every binary64 operation produces.
pub const CANONICAL_NAN_D: u64 = 0x7ff8_0000_0000_0000;

/// The binary32 value in a 64-bit register: its low half when the high half is all ones (NaN-boxed),
/// else the canonical NaN.
#[inline]
pub const fn unbox_s(register: u64) -> u32 {
    if register >> 32 == 0xffff_ffff {
        register as u32
    } else {
        CANONICAL_NAN_S
    }
}

/// NaN-boxes a binary32 value for a 64-bit register.
#[inline]
pub const fn box_s(value: u32) -> u64 {
    value as u64 | !0 << 32
}

/// The binary16 value in a 64-bit register: its low 16 bits when all bits above are ones, else the
/// canonical NaN.
#[inline]
pub const fn unbox_h(register: u64) -> u16 {
    if register >> 16 == 0xffff_ffff_ffff {
        register as u16
    } else {
        CANONICAL_NAN_H
    }
}

/// NaN-boxes a binary16 value for a 64-bit register.
#[inline]
pub const fn box_h(value: u16) -> u64 {
    value as u64 | !0 << 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxing_round_trips_and_refuses_the_unboxed() {
        assert_eq!(unbox_s(box_s(0x3f80_0000)), 0x3f80_0000);
        assert_eq!(unbox_s(0xffff_fffe_3f80_0000), CANONICAL_NAN_S);
        assert_eq!(unbox_s(0x3f80_0000), CANONICAL_NAN_S);
        assert_eq!(unbox_h(box_h(0x3c00)), 0x3c00);
        assert_eq!(unbox_h(0xffff_ffff_fffe_3c00), CANONICAL_NAN_H);
        assert_eq!(unbox_h(box_s(0x3f80_3c00)), CANONICAL_NAN_H);
    }

    #[test]
    fn rounding_modes_have_the_encoding_of_frm() {
        for mode in Round::ALL {
            assert_eq!(Round::from_bits(mode as u8), Some(mode));
        }
        for reserved in 5..=u8::MAX {
            assert_eq!(Round::from_bits(reserved), None);
        }
    }
}
