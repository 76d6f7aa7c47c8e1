//! Conversions between formats, to and from integers, and rounding to integral values.

use crate::fp::Round;
use crate::fp::flags::{NV, NX};
use crate::fp::format::{
    Double, Format, Half, Number, Single, Value, round, shift_right_rounded, unpack,
};

/// From one format to another; to a wider one it is exact.
fn convert<From: Format, To: Format>(bits: u64, rm: Round, flags: &mut u8) -> u64 {
    match unpack::<From>(bits, flags) {
        Value::Nan => To::NAN,
        Value::Infinity { negative } => To::signed(negative, To::INFINITY),
        Value::Finite(number) => round::<To>(number, rm, flags),
    }
}

/// The magnitude of a number rounded to an integer, and whether that was inexact; `u128::MAX` stands
/// for all that is beyond every integer type.
fn integral(number: Number, rm: Round) -> (u128, bool) {
    let Number {
        negative,
        exponent,
        significand,
    } = number;
    if exponent <= 0 {
        shift_right_rounded(negative, significand, exponent.unsigned_abs(), rm)
    } else if exponent <= 64 {
        (significand << exponent, false)
    } else {
        (u128::MAX, false)
    }
}

/// To an integer between `min` and `max`. Out of range raises NV alone and saturates; a NaN counts as
/// +∞ (unprivileged spec, table "Domains of float-to-integer conversions").
fn to_integer<F: Format>(bits: u64, min: i128, max: i128, rm: Round, flags: &mut u8) -> i128 {
    let number = match unpack::<F>(bits, flags) {
        Value::Finite(number) => number,
        Value::Infinity { negative: true } => {
            *flags |= NV;
            return min;
        }
        Value::Infinity { negative: false } | Value::Nan => {
            *flags |= NV;
            return max;
        }
    };
    let (magnitude, inexact) = integral(number, rm);
    let magnitude = i128::try_from(magnitude).unwrap_or(i128::MAX);
    let integer = if number.negative {
        -magnitude
    } else {
        magnitude
    };
    if integer < min || integer > max {
        *flags |= NV;
        return integer.clamp(min, max);
    }
    if inexact {
        *flags |= NX;
    }
    integer
}

fn from_integer<F: Format>(integer: i128, rm: Round, flags: &mut u8) -> u64 {
    let number = Number {
        negative: integer < 0,
        exponent: 0,
        significand: integer.unsigned_abs(),
    };
    round::<F>(number, rm, flags)
}

/// To an integral value of the same format, which keeps the sign of a zero; without NX.
fn round_quietly<F: Format>(bits: u64, rm: Round, flags: &mut u8) -> u64 {
    match unpack::<F>(bits, flags) {
        Value::Nan => F::NAN,
        // With no fraction bits in use it is integral already, and may be too large to write out.
        Value::Finite(number) if number.exponent < 0 => {
            let (significand, _) = integral(number, rm);
            let integer = Number {
                exponent: 0,
                significand,
                ..number
            };
            round::<F>(integer, rm, flags)
        }
        _ => bits,
    }
}

fn round_inexactly<F: Format>(bits: u64, rm: Round, flags: &mut u8) -> u64 {
    let rounded = round_quietly::<F>(bits, rm, flags);
    if rounded != bits && !F::is_nan(bits) {
        *flags |= NX;
    }
    rounded
}

macro_rules! to_integers {
    ($format:ty, $bits:ty, $($name:ident -> $integer:ty;)+) => {$(
        #[doc = concat!("[`fp::", stringify!($name), "`](crate::fp::", stringify!($name), ").")]
        pub fn $name(a: $bits, rm: Round, flags: &mut u8) -> $integer {
            let (min, max) = (<$integer>::MIN as i128, <$integer>::MAX as i128);
            to_integer::<$format>(u64::from(a), min, max, rm, flags) as $integer
        }
    )+};
}

to_integers! { Single, u32, s_to_i32 -> i32; s_to_u32 -> u32; s_to_i64 -> i64; s_to_u64 -> u64; }
to_integers! { Double, u64, d_to_i32 -> i32; d_to_u32 -> u32; d_to_i64 -> i64; d_to_u64 -> u64; }

macro_rules! from_integers {
    ($format:ty, $bits:ty, $($name:ident($integer:ty);)+) => {$(
        #[doc = concat!("[`fp::", stringify!($name), "`](crate::fp::", stringify!($name), ").")]
        pub fn $name(a: $integer, rm: Round, flags: &mut u8) -> $bits {
            from_integer::<$format>(i128::from(a), rm, flags) as $bits
        }
    )+};
}

from_integers! { Single, u32, i32_to_s(i32); u32_to_s(u32); i64_to_s(i64); u64_to_s(u64); }
from_integers! { Double, u64, i32_to_d(i32); u32_to_d(u32); i64_to_d(i64); u64_to_d(u64); }

/// [`fp::s_to_d`](crate::fp::s_to_d).
pub fn s_to_d(a: u32, flags: &mut u8) -> u64 {
    convert::<Single, Double>(u64::from(a), Round::Rne, flags)
}

/// [`fp::d_to_s`](crate::fp::d_to_s).
pub fn d_to_s(a: u64, rm: Round, flags: &mut u8) -> u32 {
    convert::<Double, Single>(a, rm, flags) as u32
}

/// `fcvt.s.h`: binary16 to binary32, exactly. A signalling NaN raises NV.
pub fn h_to_s(a: u16, flags: &mut u8) -> u32 {
    convert::<Half, Single>(u64::from(a), Round::Rne, flags) as u32
}

/// `fcvt.d.h`: binary16 to binary64, exactly. A signalling NaN raises NV.
pub fn h_to_d(a: u16, flags: &mut u8) -> u64 {
    convert::<Half, Double>(u64::from(a), Round::Rne, flags)
}

/// `fcvt.h.s`: binary32 to binary16, rounded.
pub fn s_to_h(a: u32, rm: Round, flags: &mut u8) -> u16 {
    convert::<Single, Half>(u64::from(a), rm, flags) as u16
}

/// `fcvt.h.d`: binary64 to binary16, rounded once.
pub fn d_to_h(a: u64, rm: Round, flags: &mut u8) -> u16 {
    convert::<Double, Half>(a, rm, flags) as u16
}

/// `fround.s`: the integral value next to `a` in the direction of `rm`, in floating point. Raises
/// nothing but NV for a signalling NaN (Zfa).
pub fn round_s(a: u32, rm: Round, flags: &mut u8) -> u32 {
    round_quietly::<Single>(u64::from(a), rm, flags) as u32
}

/// `fround.d`: [`round_s`] for binary64.
pub fn round_d(a: u64, rm: Round, flags: &mut u8) -> u64 {
    round_quietly::<Double>(a, rm, flags)
}

/// `froundnx.s`: as [`round_s`], and raises NX where the result differs from `a` (Zfa).
pub fn roundnx_s(a: u32, rm: Round, flags: &mut u8) -> u32 {
    round_inexactly::<Single>(u64::from(a), rm, flags) as u32
}

/// `froundnx.d`: [`roundnx_s`] for binary64.
pub fn roundnx_d(a: u64, rm: Round, flags: &mut u8) -> u64 {
    round_inexactly::<Double>(a, rm, flags)
}

/// `fcvtmod.w.d`: rounds towards zero and keeps the integer modulo 2³² as a signed number; 0 for
/// infinities and NaNs. The flags are those of `fcvt.w.d` (Zfa).
pub fn d_to_i32_mod(a: u64, flags: &mut u8) -> i32 {
    d_to_i32(a, Round::Rtz, flags);
    match unpack::<Double>(a, flags) {
        Value::Finite(number) => {
            // Multiples of 2^32 only, and `integral` may saturate.
            if number.exponent >= 32 {
                return 0;
            }
            let (magnitude, _) = integral(number, Round::Rtz);
            let wrapped = magnitude as i32;
            if number.negative {
                wrapped.wrapping_neg()
            } else {
                wrapped
            }
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fp::flags::{NV, NX};

    proptest! {
        #[test]
        fn modular_conversion_is_the_remainder(fraction in any::<u64>(), exponent in 1000u64..1200) {
            let bits = fraction & !(0x7ff << 52) | exponent << 52;
            // The remainder keeps the dividend's sign and is exact, as is its truncation.
            let remainder = f64::from_bits(bits) % 4294967296.0;
            prop_assert_eq!(d_to_i32_mod(bits, &mut 0), remainder as i64 as i32);
        }

        #[test]
        fn rounding_agrees_with_the_host(bits in any::<u32>(), wide in any::<u64>()) {
            let (single, double) = (f32::from_bits(bits), f64::from_bits(wide));
            prop_assume!(!single.is_nan() && !double.is_nan());
            for (rm, of_single, of_double) in [
                (Round::Rne, single.round_ties_even(), double.round_ties_even()),
                (Round::Rtz, single.trunc(), double.trunc()),
                (Round::Rdn, single.floor(), double.floor()),
                (Round::Rup, single.ceil(), double.ceil()),
                (Round::Rmm, single.round(), double.round()),
            ] {
                let mut flags = 0;
                prop_assert_eq!(roundnx_s(bits, rm, &mut flags), of_single.to_bits());
                prop_assert_eq!(flags, if of_single == single { 0 } else { NX });
                let mut flags = 0;
                prop_assert_eq!(roundnx_d(wide, rm, &mut flags), of_double.to_bits());
                prop_assert_eq!(flags, if of_double == double { 0 } else { NX });
            }
        }
    }

    #[test]
    fn modular_conversion_raises_what_the_saturating_one_does() {
        for (value, integer, raised) in [
            (1.5, 1, NX),
            (2147483648.0, i32::MIN, NV),
            (-2147483648.5, i32::MIN, NX),
            (4294967297.5, 1, NV),
            (f64::INFINITY, 0, NV),
            (f64::NAN, 0, NV),
        ] {
            let mut flags = 0;
            assert_eq!(
                d_to_i32_mod(f64::to_bits(value), &mut flags),
                integer,
                "{value}"
            );
            assert_eq!(flags, raised, "{value}");
        }
    }
}
