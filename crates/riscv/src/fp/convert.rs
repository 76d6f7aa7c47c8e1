//! Conversions: what is exact, or rounds as Rust's casts do, costs a cast; the rest is [`soft`].

use super::flags::NX;
use super::{CANONICAL_NAN_D, CANONICAL_NAN_H, CANONICAL_NAN_S, Round, soft};

/// `fcvt.d.s`: binary32 to binary64, exactly. A signalling NaN raises NV.
#[inline]
pub fn s_to_d(a: u32, flags: &mut u8) -> u64 {
    let value = f32::from_bits(a);
    if value.is_nan() {
        return soft::s_to_d(a, flags);
    }
    f64::from(value).to_bits()
}

/// `fcvt.s.d`: binary64 to binary32, rounded.
#[inline]
pub fn d_to_s(a: u64, rm: Round, flags: &mut u8) -> u32 {
    let value = f64::from_bits(a);
    let narrow = value as f32;
    if f64::from(narrow) == value {
        return narrow.to_bits();
    }
    // Inexact, and by the cast's rounding mode no more than that: not near either end of the range.
    if rm == Round::Rne && narrow.abs() > f32::MIN_POSITIVE && narrow.is_finite() {
        *flags |= NX;
        return narrow.to_bits();
    }
    soft::d_to_s(a, rm, flags)
}

macro_rules! to_integer {
    ($($(#[$doc:meta])* $name:ident($bits:ty, $float:ty) -> $integer:ty;)+) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name(a: $bits, rm: Round, flags: &mut u8) -> $integer {
            let value = <$float>::from_bits(a);
            // Rust truncates and saturates. The extremes may be saturated, so they are not judged here.
            let truncated = value as $integer;
            if truncated != <$integer>::MAX {
                if truncated as $float == value {
                    return truncated;
                }
                if rm == Round::Rtz && truncated != <$integer>::MIN && !value.is_nan() {
                    *flags |= NX;
                    return truncated;
                }
            }
            soft::$name(a, rm, flags)
        }
    )+};
}

to_integer! {
    /// `fcvt.w.s`. Out of range it saturates and raises NV alone; a NaN gives the maximum.
    s_to_i32(u32, f32) -> i32;
    /// `fcvt.wu.s`. Out of range it saturates and raises NV alone; a NaN gives the maximum.
    s_to_u32(u32, f32) -> u32;
    /// `fcvt.l.s`. Out of range it saturates and raises NV alone; a NaN gives the maximum.
    s_to_i64(u32, f32) -> i64;
    /// `fcvt.lu.s`. Out of range it saturates and raises NV alone; a NaN gives the maximum.
    s_to_u64(u32, f32) -> u64;
    /// `fcvt.w.d`. Out of range it saturates and raises NV alone; a NaN gives the maximum.
    d_to_i32(u64, f64) -> i32;
    /// `fcvt.wu.d`. Out of range it saturates and raises NV alone; a NaN gives the maximum.
    d_to_u32(u64, f64) -> u32;
    /// `fcvt.l.d`. Out of range it saturates and raises NV alone; a NaN gives the maximum.
    d_to_i64(u64, f64) -> i64;
    /// `fcvt.lu.d`. Out of range it saturates and raises NV alone; a NaN gives the maximum.
    d_to_u64(u64, f64) -> u64;
}

macro_rules! from_integer {
    ($($(#[$doc:meta])* $name:ident($integer:ty) -> $bits:ty, $float:ty;)+) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name(a: $integer, rm: Round, flags: &mut u8) -> $bits {
            let magnitude = i128::from(a).unsigned_abs() as u64;
            let outer_zeros = magnitude.leading_zeros() + magnitude.trailing_zeros();
            let exact = outer_zeros + <$float>::MANTISSA_DIGITS >= u64::BITS;
            if !exact {
                if rm != Round::Rne {
                    return soft::$name(a, rm, flags);
                }
                *flags |= NX;
            }
            (a as $float).to_bits()
        }
    )+};
}

from_integer! {
    /// `fcvt.s.w`: rounded.
    i32_to_s(i32) -> u32, f32;
    /// `fcvt.s.wu`: rounded.
    u32_to_s(u32) -> u32, f32;
    /// `fcvt.s.l`: rounded.
    i64_to_s(i64) -> u32, f32;
    /// `fcvt.s.lu`: rounded.
    u64_to_s(u64) -> u32, f32;
    /// `fcvt.d.w`: always exact.
    i32_to_d(i32) -> u64, f64;
    /// `fcvt.d.wu`: always exact.
    u32_to_d(u32) -> u64, f64;
    /// `fcvt.d.l`: rounded.
    i64_to_d(i64) -> u64, f64;
    /// `fcvt.d.lu`: rounded.
    u64_to_d(u64) -> u64, f64;
}

/// The constants of `fli` between its first two entries and its last two, least first (Zfa, table
/// "Immediate values loaded by the FLI instructions"). All are exact in binary32.
const FLI: [f32; 28] = [
    1.0 / 65536.0,
    1.0 / 32768.0,
    1.0 / 256.0,
    1.0 / 128.0,
    0.0625,
    0.125,
    0.25,
    0.3125,
    0.375,
    0.4375,
    0.5,
    0.625,
    0.75,
    0.875,
    1.0,
    1.25,
    1.5,
    1.75,
    2.0,
    2.5,
    3.0,
    4.0,
    8.0,
    16.0,
    128.0,
    256.0,
    32768.0,
    65536.0,
];

/// What the five bits of an `fli` select.
enum Immediate {
    LeastNormal,
    Nan,
    Value(f32),
}

fn immediate(index: u8) -> Immediate {
    match index & 31 {
        0 => Immediate::Value(-1.0),
        1 => Immediate::LeastNormal,
        30 => Immediate::Value(f32::INFINITY),
        31 => Immediate::Nan,
        index => Immediate::Value(FLI[usize::from(index) - 2]),
    }
}

/// The constant that `fli.s` loads for `index`, of which the low five bits count.
pub fn fli_s(index: u8) -> u32 {
    match immediate(index) {
        Immediate::LeastNormal => f32::MIN_POSITIVE.to_bits(),
        Immediate::Nan => CANONICAL_NAN_S,
        Immediate::Value(value) => value.to_bits(),
    }
}

/// The constant that `fli.d` loads for `index`, of which the low five bits count.
pub fn fli_d(index: u8) -> u64 {
    match immediate(index) {
        Immediate::LeastNormal => f64::MIN_POSITIVE.to_bits(),
        Immediate::Nan => CANONICAL_NAN_D,
        Immediate::Value(value) => f64::from(value).to_bits(),
    }
}

/// The constant that `fli.h` loads for `index`, of which the low five bits count. 2¹⁶ is beyond
/// binary16 and comes out as +∞.
pub fn fli_h(index: u8) -> u16 {
    match immediate(index) {
        Immediate::LeastNormal => 0x0400,
        Immediate::Nan => CANONICAL_NAN_H,
        Immediate::Value(value) => soft::s_to_h(value.to_bits(), Round::Rne, &mut 0),
    }
}
