//! Comparison, minimum and maximum, and classification.

use super::flags::NV;
use super::format::{Double, Format, Single};

/// Raises NV when either operand is a signalling NaN.
#[inline]
fn signal<F: Format>(a: u64, b: u64, flags: &mut u8) {
    if F::is_signalling(a) || F::is_signalling(b) {
        *flags |= NV;
    }
}

/// A key that orders as the numbers do, with -0 just below +0. Not for NaNs.
#[inline]
fn order<F: Format>(bits: u64) -> i64 {
    let magnitude = (bits & !F::SIGN) as i64;
    if F::is_negative(bits) {
        !magnitude
    } else {
        magnitude
    }
}

/// minimumNumber or maximumNumber (IEEE 754-2019, 9.6): a number wins over a NaN.
#[inline]
fn extremum_number<F: Format>(a: u64, b: u64, max: bool, flags: &mut u8) -> u64 {
    match (F::is_nan(a), F::is_nan(b)) {
        (false, false) => extremum::<F>(a, b, max),
        (a_is_nan, b_is_nan) => {
            signal::<F>(a, b, flags);
            match (a_is_nan, b_is_nan) {
                (true, true) => F::NAN,
                (true, false) => b,
                _ => a,
            }
        }
    }
}

/// minimum or maximum (IEEE 754-2019, 9.6): a NaN wins over a number.
#[inline]
fn extremum_nan<F: Format>(a: u64, b: u64, max: bool, flags: &mut u8) -> u64 {
    if F::is_nan(a) || F::is_nan(b) {
        signal::<F>(a, b, flags);
        return F::NAN;
    }
    extremum::<F>(a, b, max)
}

#[inline]
fn extremum<F: Format>(a: u64, b: u64, max: bool) -> u64 {
    if (order::<F>(a) < order::<F>(b)) != max {
        a
    } else {
        b
    }
}

/// The bit of `fclass` for a value (unprivileged spec, table "Format of result of FCLASS").
#[inline]
fn class<F: Format>(bits: u64) -> u64 {
    let magnitude = bits & !F::SIGN;
    let position = if F::is_nan(bits) {
        return if F::is_signalling(bits) {
            1 << 8
        } else {
            1 << 9
        };
    } else if magnitude == F::INFINITY {
        0
    } else if magnitude > F::FRACTION {
        1
    } else if magnitude != 0 {
        2
    } else {
        3
    };
    // The positive classes mirror the negative ones.
    1 << if F::is_negative(bits) {
        position
    } else {
        7 - position
    }
}

macro_rules! compare {
    (
        $format:ty, $bits:ty, $float:ty:
        $min:ident $max:ident $minm:ident $maxm:ident
        $eq:ident $lt:ident $le:ident $ltq:ident $leq:ident $class:ident
    ) => {
        /// `fmin`: the lesser operand, with -0 below +0; the other operand when one is a NaN. NV for
        /// a signalling NaN.
        #[inline]
        pub fn $min(a: $bits, b: $bits, flags: &mut u8) -> $bits {
            extremum_number::<$format>(u64::from(a), u64::from(b), false, flags) as $bits
        }

        /// `fmax`: the greater operand, with +0 above -0; the other operand when one is a NaN. NV for
        /// a signalling NaN.
        #[inline]
        pub fn $max(a: $bits, b: $bits, flags: &mut u8) -> $bits {
            extremum_number::<$format>(u64::from(a), u64::from(b), true, flags) as $bits
        }

        /// `fminm` (Zfa): as `fmin`, but the canonical NaN when either operand is a NaN.
        #[inline]
        pub fn $minm(a: $bits, b: $bits, flags: &mut u8) -> $bits {
            extremum_nan::<$format>(u64::from(a), u64::from(b), false, flags) as $bits
        }

        /// `fmaxm` (Zfa): as `fmax`, but the canonical NaN when either operand is a NaN.
        #[inline]
        pub fn $maxm(a: $bits, b: $bits, flags: &mut u8) -> $bits {
            extremum_nan::<$format>(u64::from(a), u64::from(b), true, flags) as $bits
        }

        /// `feq`: quiet equality, false for NaNs; NV for a signalling NaN only.
        #[inline]
        pub fn $eq(a: $bits, b: $bits, flags: &mut u8) -> bool {
            signal::<$format>(u64::from(a), u64::from(b), flags);
            <$float>::from_bits(a) == <$float>::from_bits(b)
        }

        /// `flt`: signalling less-than, false for NaNs; NV for any NaN.
        #[inline]
        pub fn $lt(a: $bits, b: $bits, flags: &mut u8) -> bool {
            let (a, b) = (<$float>::from_bits(a), <$float>::from_bits(b));
            if a.is_nan() || b.is_nan() {
                *flags |= NV;
            }
            a < b
        }

        /// `fle`: signalling less-or-equal, false for NaNs; NV for any NaN.
        #[inline]
        pub fn $le(a: $bits, b: $bits, flags: &mut u8) -> bool {
            let (a, b) = (<$float>::from_bits(a), <$float>::from_bits(b));
            if a.is_nan() || b.is_nan() {
                *flags |= NV;
            }
            a <= b
        }

        /// `fltq` (Zfa): quiet less-than, false for NaNs; NV for a signalling NaN only.
        #[inline]
        pub fn $ltq(a: $bits, b: $bits, flags: &mut u8) -> bool {
            signal::<$format>(u64::from(a), u64::from(b), flags);
            <$float>::from_bits(a) < <$float>::from_bits(b)
        }

        /// `fleq` (Zfa): quiet less-or-equal, false for NaNs; NV for a signalling NaN only.
        #[inline]
        pub fn $leq(a: $bits, b: $bits, flags: &mut u8) -> bool {
            signal::<$format>(u64::from(a), u64::from(b), flags);
            <$float>::from_bits(a) <= <$float>::from_bits(b)
        }

        /// `fclass`: one bit set, from bit 0 for -∞ over bit 4 for +0 to bit 7 for +∞, then bit 8 for
        /// a signalling and bit 9 for a quiet NaN.
        #[inline]
        pub fn $class(a: $bits) -> u64 {
            class::<$format>(u64::from(a))
        }
    };
}

compare! { Single, u32, f32: min_s max_s minm_s maxm_s eq_s lt_s le_s ltq_s leq_s class_s }
compare! { Double, u64, f64: min_d max_d minm_d maxm_d eq_d lt_d le_d ltq_d leq_d class_d }
