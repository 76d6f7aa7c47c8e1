//! Addition, multiplication, division, square root and fused multiply-add: which of the three ways to
//! the result to take.

#[cfg(target_arch = "x86_64")]
use super::mxcsr;
use super::{Round, flags::NX, soft};

/// Whether a rounded result proves that the operation raised nothing but, perhaps, NX: it is normal,
/// so no operand was infinite or NaN, and it is not the least normal number, to which a tiny result
/// may have been rounded up.
trait Outcome {
    fn settles_flags(&self) -> bool;
}

impl Outcome for f32 {
    #[inline]
    fn settles_flags(&self) -> bool {
        self.abs() > Self::MIN_POSITIVE && self.abs() < Self::INFINITY
    }
}

impl Outcome for f64 {
    #[inline]
    fn settles_flags(&self) -> bool {
        self.abs() > Self::MIN_POSITIVE && self.abs() < Self::INFINITY
    }
}

/// Fused multiply-add in the host's default environment where that is one instruction, else a NaN,
/// which settles nothing.
macro_rules! host_fma {
    ($name:ident, $float:ident, $fused:ident) => {
        #[inline]
        fn $name(a: $float, b: $float, c: $float) -> $float {
            #[cfg(target_arch = "x86_64")]
            if mxcsr::has_fma() {
                return mxcsr::$fused(a, b, c);
            }
            #[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
            return a.mul_add(b, c);
            #[cfg(not(any(target_arch = "aarch64", target_arch = "riscv64")))]
            {
                let _ = (a, b, c);
                $float::NAN
            }
        }
    };
}

host_fma!(host_fma_s, f32, fused_s);
host_fma!(host_fma_d, f64, fused_d);

/// Whether the host's FPU can be asked for the operation's flags.
#[cfg(target_arch = "x86_64")]
#[inline]
fn host_has_flags(rm: Round, operands: usize) -> bool {
    rm != Round::Rmm && (operands < 3 || mxcsr::has_fma())
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident($bits:ty, $float:ty: $($arg:ident),+) = $host:expr;)+) => {
        $(
            $(#[$doc])*
            #[inline]
            pub fn $name($($arg: $bits,)+ rm: Round, flags: &mut u8) -> $bits {
                if rm == Round::Rne && *flags & NX != 0 {
                    $(let $arg = <$float>::from_bits($arg);)+
                    let result: $float = $host;
                    if result.settles_flags() {
                        return result.to_bits();
                    }
                }
                with_flags::$name($($arg,)+ rm, flags)
            }
        )+

        /// The same operations where it takes more to know the flags or to round.
        mod with_flags {
            use super::*;

            $(
                #[inline(never)]
                pub(super) fn $name($($arg: $bits,)+ rm: Round, flags: &mut u8) -> $bits {
                    #[cfg(target_arch = "x86_64")]
                    if host_has_flags(rm, [$(stringify!($arg)),+].len()) {
                        let result = mxcsr::$name($(<$float>::from_bits($arg),)+ rm, flags);
                        // Which NaN, and whether it is invalid, differs between x86 and RISC-V.
                        if !result.is_nan() {
                            return result.to_bits();
                        }
                    }
                    soft::$name($($arg,)+ rm, flags)
                }
            )+
        }
    };
}

operations! {
    /// `fadd.s`: `a` + `b`.
    add_s(u32, f32: a, b) = a + b;
    /// `fsub.s`: `a` - `b`.
    sub_s(u32, f32: a, b) = a - b;
    /// `fmul.s`: `a` × `b`.
    mul_s(u32, f32: a, b) = a * b;
    /// `fdiv.s`: `a` / `b`; DZ for a finite number other than zero by zero.
    div_s(u32, f32: a, b) = a / b;
    /// `fsqrt.s`: the square root; NV for a negative number, but -0 of -0.
    sqrt_s(u32, f32: a) = a.sqrt();
    /// `fmadd.s`: `a` × `b` + `c`, rounded once. `fmsub`, `fnmsub` and `fnmadd` are this with the sign
    /// bits of `c`, of `a`, or of both flipped beforehand, which is exact and leaves the flags alone.
    fma_s(u32, f32: a, b, c) = host_fma_s(a, b, c);
    /// `fadd.d`: `a` + `b`.
    add_d(u64, f64: a, b) = a + b;
    /// `fsub.d`: `a` - `b`.
    sub_d(u64, f64: a, b) = a - b;
    /// `fmul.d`: `a` × `b`.
    mul_d(u64, f64: a, b) = a * b;
    /// `fdiv.d`: `a` / `b`; DZ for a finite number other than zero by zero.
    div_d(u64, f64: a, b) = a / b;
    /// `fsqrt.d`: the square root; NV for a negative number, but -0 of -0.
    sqrt_d(u64, f64: a) = a.sqrt();
    /// `fmadd.d`: `a` × `b` + `c`, rounded once; for its relatives see [`fma_s`].
    fma_d(u64, f64: a, b, c) = host_fma_d(a, b, c);
}
