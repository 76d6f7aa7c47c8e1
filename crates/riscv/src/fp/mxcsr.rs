//! The host's FPU on x86-64: one operation under a rounding mode of choice, with its exceptions.
//!
//! Each function loads MXCSR with the rounding mode and no flags, executes the one instruction, reads
//! the flags and puts MXCSR back as Rust requires it, all within one assembly block, so that the
//! compiler can move neither the operation out of it nor another into it. Exceptions stay masked.
//! Subnormals are honoured (DAZ and FTZ clear), and SSE detects tininess after rounding as RISC-V does
//! (Intel SDM volume 1, 4.9.1.5).

use std::arch::asm;

use super::Round;
use super::flags::{DZ, NV, NX, OF, UF};

/// MXCSR as Rust's execution environment has it: all exceptions masked, to nearest, no flags.
static DEFAULT: u32 = 0x1f80;

/// MXCSR for a rounding mode, which must not be RMM: x86 does not have it.
#[inline]
fn control(rm: Round) -> u32 {
    let field = match rm {
        Round::Rne | Round::Rmm => 0,
        Round::Rdn => 1,
        Round::Rup => 2,
        Round::Rtz => 3,
    };
    debug_assert!(rm != Round::Rmm);
    DEFAULT | field << 13
}

/// `fflags` for each state of MXCSR's exception flags. The denormal-operand flag has no counterpart.
const FLAGS: [u8; 64] = {
    let pairs = [
        (1 << 0, NV),
        (1 << 2, DZ),
        (1 << 3, OF),
        (1 << 4, UF),
        (1 << 5, NX),
    ];
    let mut table = [0; 64];
    let mut mxcsr = 0;
    while mxcsr < table.len() {
        let mut pair = 0;
        while pair < pairs.len() {
            if mxcsr & pairs[pair].0 != 0 {
                table[mxcsr] |= pairs[pair].1;
            }
            pair += 1;
        }
        mxcsr += 1;
    }
    table
};

#[inline]
fn raise(mxcsr: u32, flags: &mut u8) {
    *flags |= FLAGS[(mxcsr & 63) as usize];
}

/// Defines functions around one instruction each: `{x}` is the first operand and the result.
macro_rules! instruction {
    ($($name:ident: $instruction:literal ($x:ident $(, $arg:ident)*): $float:ty $(=> $result:ty)?;)+) => {$(
        #[doc = concat!("`", $instruction, "`; `rm` is not RMM.")]
        #[inline]
        pub(super) fn $name($x: $float $(, $arg: $float)*, rm: Round, flags: &mut u8) -> $float {
            let mut mxcsr = control(rm);
            let mut result = $x;
            // SAFETY: the instruction is in the host's instruction set (SSE2 is part of x86-64, and
            // callers of the FMA ones have asked for it) and touches registers only; the loads and the
            // store go to `mxcsr` and `DEFAULT`; MXCSR is back in its default control state at the end.
            unsafe {
                asm!(
                    "ldmxcsr [{mxcsr}]",
                    $instruction,
                    "stmxcsr [{mxcsr}]",
                    "ldmxcsr [{default}]",
                    mxcsr = in(reg) &raw mut mxcsr,
                    default = in(reg) &raw const DEFAULT,
                    x = inout(xmm_reg) result,
                    $($arg = in(xmm_reg) $arg,)*
                    options(nostack),
                );
            }
            raise(mxcsr, flags);
            result
        }
    )+};
}

instruction! {
    add_s: "addss {x}, {b}" (a, b): f32;
    sub_s: "subss {x}, {b}" (a, b): f32;
    mul_s: "mulss {x}, {b}" (a, b): f32;
    div_s: "divss {x}, {b}" (a, b): f32;
    sqrt_s: "sqrtss {x}, {x}" (a): f32;
    fma_s: "vfmadd213ss {x}, {b}, {c}" (a, b, c): f32;
    add_d: "addsd {x}, {b}" (a, b): f64;
    sub_d: "subsd {x}, {b}" (a, b): f64;
    mul_d: "mulsd {x}, {b}" (a, b): f64;
    div_d: "divsd {x}, {b}" (a, b): f64;
    sqrt_d: "sqrtsd {x}, {x}" (a): f64;
    fma_d: "vfmadd213sd {x}, {b}, {c}" (a, b, c): f64;
}

/// Whether the host has fused multiply-add.
#[inline]
pub(super) fn has_fma() -> bool {
    std::arch::is_x86_feature_detected!("fma")
}

/// One fused multiply-add in the default environment; the host must have it.
macro_rules! fused {
    ($name:ident, $float:ty, $instruction:literal) => {
        #[inline]
        pub(super) fn $name(a: $float, b: $float, c: $float) -> $float {
            let mut result = a;
            // SAFETY: the caller has asked `has_fma`; the instruction touches registers only, and at
            // most raises sticky flags in MXCSR.
            unsafe {
                asm!($instruction, x = inout(xmm_reg) result, b = in(xmm_reg) b, c = in(xmm_reg) c,
                    options(pure, nomem, nostack));
            }
            result
        }
    };
}

fused!(fused_s, f32, "vfmadd213ss {x}, {b}, {c}");
fused!(fused_d, f64, "vfmadd213sd {x}, {b}, {c}");
