//! The interchange formats: taking bits apart into exact values, and rounding exact values back.

use super::Round;
use super::flags::{NV, NX, OF, UF};

/// One binary interchange format of IEEE 754; bit patterns lie in the low bits of a `u64`.
pub(super) trait Format {
    /// Bits of the stored fraction.
    const FRACTION_BITS: u32;
    /// Bits of the biased exponent.
    const EXPONENT_BITS: u32;

    /// The exponent bias, which is also the greatest exponent of a finite number.
    const BIAS: i32 = (1 << (Self::EXPONENT_BITS - 1)) - 1;
    /// The least exponent of a normal number.
    const EMIN: i32 = 1 - Self::BIAS;
    /// The sign bit.
    const SIGN: u64 = 1 << (Self::FRACTION_BITS + Self::EXPONENT_BITS);
    /// The fraction field.
    const FRACTION: u64 = (1 << Self::FRACTION_BITS) - 1;
    /// The exponent field, which is also +∞.
    const INFINITY: u64 = Self::SIGN - (1 << Self::FRACTION_BITS);
    /// The bit that tells quiet NaNs from signalling ones.
    const QUIET: u64 = 1 << (Self::FRACTION_BITS - 1);
    /// The canonical NaN.
    const NAN: u64 = Self::INFINITY | Self::QUIET;

    #[inline]
    fn is_negative(bits: u64) -> bool {
        bits & Self::SIGN != 0
    }

    #[inline]
    fn is_nan(bits: u64) -> bool {
        bits & !Self::SIGN > Self::INFINITY
    }

    #[inline]
    fn is_signalling(bits: u64) -> bool {
        Self::is_nan(bits) && bits & Self::QUIET == 0
    }

    /// `magnitude` with the given sign.
    #[inline]
    fn signed(negative: bool, magnitude: u64) -> u64 {
        if negative {
            magnitude | Self::SIGN
        } else {
            magnitude
        }
    }
}

/// binary16.
pub(super) struct Half;
/// binary32.
pub(super) struct Single;
/// binary64.
pub(super) struct Double;

impl Format for Half {
    const FRACTION_BITS: u32 = 10;
    const EXPONENT_BITS: u32 = 5;
}

impl Format for Single {
    const FRACTION_BITS: u32 = 23;
    const EXPONENT_BITS: u32 = 8;
}

impl Format for Double {
    const FRACTION_BITS: u32 = 52;
    const EXPONENT_BITS: u32 = 11;
}

/// What a bit pattern stands for.
#[derive(Clone, Copy)]
pub(super) enum Value {
    Nan,
    Infinity { negative: bool },
    Finite(Number),
}

/// The exact number ±`significand` × 2^`exponent`; zero keeps its sign.
#[derive(Clone, Copy)]
pub(super) struct Number {
    pub(super) negative: bool,
    pub(super) exponent: i32,
    pub(super) significand: u128,
}

impl Number {
    pub(super) fn is_zero(self) -> bool {
        self.significand == 0
    }

    /// The same number with the top bit of its significand at bit `top`; zero stays as it is. The
    /// significand must not reach beyond `top` already.
    pub(super) fn normalised(self, top: u32) -> Self {
        if self.is_zero() {
            return self;
        }
        let shift = self.significand.leading_zeros() + top - 127;
        Self {
            exponent: self.exponent - shift as i32,
            significand: self.significand << shift,
            ..self
        }
    }
}

/// Takes a bit pattern apart. A signalling NaN raises NV, as it does in every operation that computes.
#[inline]
pub(super) fn unpack<F: Format>(bits: u64, flags: &mut u8) -> Value {
    let negative = F::is_negative(bits);
    let fraction = bits & F::FRACTION;
    let biased = (bits & F::INFINITY) >> F::FRACTION_BITS;
    if bits & F::INFINITY == F::INFINITY {
        if fraction == 0 {
            return Value::Infinity { negative };
        }
        if F::is_signalling(bits) {
            *flags |= NV;
        }
        return Value::Nan;
    }
    let implicit = u64::from(biased != 0) << F::FRACTION_BITS;
    Value::Finite(Number {
        negative,
        exponent: biased.max(1) as i32 - F::BIAS - F::FRACTION_BITS as i32,
        significand: u128::from(implicit | fraction),
    })
}

/// The canonical NaN of an invalid operation.
#[inline]
pub(super) fn invalid<F: Format>(flags: &mut u8) -> u64 {
    *flags |= NV;
    F::NAN
}

/// Shifts right with all that falls out kept as a sticky lowest bit.
#[inline]
pub(super) fn shift_right_sticky(significand: u128, shift: u32) -> u128 {
    match significand.checked_shr(shift) {
        Some(kept) => kept | u128::from(kept << shift != significand),
        None => u128::from(significand != 0),
    }
}

/// `significand` / 2^`shift` rounded to an integer, and whether that was inexact. `negative` is the
/// sign of the number whose magnitude this is.
#[inline]
pub(super) fn shift_right_rounded(
    negative: bool,
    significand: u128,
    shift: u32,
    rm: Round,
) -> (u128, bool) {
    let kept = significand.checked_shr(shift).unwrap_or(0);
    // Of what falls out: whether it is at least half a unit, and whether anything is left beyond that.
    let (half, rest) = match shift {
        0 => (false, false),
        1..=128 => {
            let half = 1 << (shift - 1);
            (significand & half != 0, significand & (half - 1) != 0)
        }
        _ => (false, significand != 0),
    };
    let up = match rm {
        Round::Rne => half && (rest || kept & 1 != 0),
        Round::Rtz => false,
        Round::Rdn => negative && (half || rest),
        Round::Rup => !negative && (half || rest),
        Round::Rmm => half,
    };
    (kept + u128::from(up), half || rest)
}

/// Rounds an exact number to the format, raising NX, UF and OF as due. A sticky lowest bit in place
/// of further digits is as good as the digits when the significand has at least two bits more than
/// the format's precision.
#[inline]
pub(super) fn round<F: Format>(number: Number, rm: Round, flags: &mut u8) -> u64 {
    if number.is_zero() {
        return F::signed(number.negative, 0);
    }
    let Number {
        negative,
        exponent,
        significand,
    } = number.normalised(127);
    // The number is 1.xxx × 2^e.
    let e = exponent + 127;
    let full = 127 - F::FRACTION_BITS;
    let subnormal = e < F::EMIN;
    let shift = if subnormal {
        full + (F::EMIN - e) as u32
    } else {
        full
    };
    let (rounded, inexact) = shift_right_rounded(negative, significand, shift, rm);
    // A carry out of the fraction moves into the exponent field of its own accord, from subnormal to
    // normal too.
    let binade = (e - F::EMIN).max(0) as u64;
    let magnitude = (binade << F::FRACTION_BITS) + rounded as u64;
    if e > F::BIAS || magnitude >= F::INFINITY {
        return overflow::<F>(negative, rm, flags);
    }
    if inexact {
        *flags |= NX;
        // Tiny after rounding: still below the least normal number when rounded to full precision
        // with an exponent without bounds (IEEE 754-2019, 7.5).
        if subnormal {
            let (unbounded, _) = shift_right_rounded(negative, significand, full, rm);
            let carried = unbounded >> (F::FRACTION_BITS + 1) != 0;
            if e + i32::from(carried) < F::EMIN {
                *flags |= UF;
            }
        }
    }
    F::signed(negative, magnitude)
}

/// The result of a number too large for the format.
#[cold]
fn overflow<F: Format>(negative: bool, rm: Round, flags: &mut u8) -> u64 {
    *flags |= OF | NX;
    let to_infinity = match rm {
        Round::Rne | Round::Rmm => true,
        Round::Rtz => false,
        Round::Rdn => negative,
        Round::Rup => !negative,
    };
    F::signed(negative, F::INFINITY - u64::from(!to_infinity))
}
