//! Addition, multiplication, division, square root and fused multiply-add.

use crate::fp::Round;
use crate::fp::flags::DZ;
use crate::fp::format::{
    Double, Format, Number, Single, Value, invalid, round, shift_right_sticky, unpack,
};

/// The sum of two exact numbers, rounded. Significands are at most 126 bits long.
fn round_sum<F: Format>(a: Number, b: Number, rm: Round, flags: &mut u8) -> u64 {
    if a.is_zero() && b.is_zero() {
        return zero_sum::<F>(a.negative, b.negative, rm);
    }
    if a.is_zero() {
        return round::<F>(b, rm, flags);
    }
    if b.is_zero() {
        return round::<F>(a, rm, flags);
    }
    // The top bits at 126 leave room for a carry. Digits fall into the sticky bit only where the
    // exponents are so far apart that no cancellation can bring it near the rounding position.
    let (a, b) = (a.normalised(126), b.normalised(126));
    let (high, low) = if a.exponent >= b.exponent {
        (a, b)
    } else {
        (b, a)
    };
    let aligned = shift_right_sticky(low.significand, (high.exponent - low.exponent) as u32);
    let (negative, significand) = if high.negative == low.negative {
        (high.negative, high.significand + aligned)
    } else if high.significand >= aligned {
        (high.negative, high.significand - aligned)
    } else {
        (low.negative, aligned - high.significand)
    };
    if significand == 0 {
        return zero_sum::<F>(a.negative, b.negative, rm);
    }
    let sum = Number {
        negative,
        exponent: high.exponent,
        significand,
    };
    round::<F>(sum, rm, flags)
}

/// An exact zero sum takes the operands' common sign; of opposite signs it is +0, or -0 when rounding
/// down (IEEE 754-2019, 6.3).
fn zero_sum<F: Format>(a_negative: bool, b_negative: bool, rm: Round) -> u64 {
    let negative = if a_negative == b_negative {
        a_negative
    } else {
        rm == Round::Rdn
    };
    F::signed(negative, 0)
}

fn add<F: Format>(a: u64, b: u64, rm: Round, flags: &mut u8) -> u64 {
    match (unpack::<F>(a, flags), unpack::<F>(b, flags)) {
        (Value::Nan, _) | (_, Value::Nan) => F::NAN,
        (Value::Infinity { negative: a }, Value::Infinity { negative: b }) if a != b => {
            invalid::<F>(flags)
        }
        (Value::Infinity { negative }, _) | (_, Value::Infinity { negative }) => {
            F::signed(negative, F::INFINITY)
        }
        (Value::Finite(a), Value::Finite(b)) => round_sum::<F>(a, b, rm, flags),
    }
}

fn sub<F: Format>(a: u64, b: u64, rm: Round, flags: &mut u8) -> u64 {
    add::<F>(a, b ^ F::SIGN, rm, flags)
}

fn product(a: Number, b: Number) -> Number {
    Number {
        negative: a.negative != b.negative,
        exponent: a.exponent + b.exponent,
        significand: a.significand * b.significand,
    }
}

fn mul<F: Format>(a: u64, b: u64, rm: Round, flags: &mut u8) -> u64 {
    let negative = F::is_negative(a ^ b);
    match (unpack::<F>(a, flags), unpack::<F>(b, flags)) {
        (Value::Nan, _) | (_, Value::Nan) => F::NAN,
        (Value::Infinity { .. }, Value::Finite(n)) | (Value::Finite(n), Value::Infinity { .. })
            if n.is_zero() =>
        {
            invalid::<F>(flags)
        }
        (Value::Infinity { .. }, _) | (_, Value::Infinity { .. }) => {
            F::signed(negative, F::INFINITY)
        }
        (Value::Finite(a), Value::Finite(b)) => round::<F>(product(a, b), rm, flags),
    }
}

fn fma<F: Format>(a: u64, b: u64, c: u64, rm: Round, flags: &mut u8) -> u64 {
    let negative = F::is_negative(a ^ b);
    let (a, b) = (unpack::<F>(a, flags), unpack::<F>(b, flags));
    let c = unpack::<F>(c, flags);
    let infinite_product = match (a, b) {
        (Value::Nan, _) | (_, Value::Nan) => return F::NAN,
        // Invalid even when the addend is a quiet NaN (unprivileged spec, "Single-Precision
        // Floating-Point Computational Instructions").
        (Value::Infinity { .. }, Value::Finite(n)) | (Value::Finite(n), Value::Infinity { .. })
            if n.is_zero() =>
        {
            return invalid::<F>(flags);
        }
        (Value::Finite(a), Value::Finite(b)) => {
            return match c {
                Value::Nan => F::NAN,
                Value::Infinity { negative } => F::signed(negative, F::INFINITY),
                Value::Finite(c) => round_sum::<F>(product(a, b), c, rm, flags),
            };
        }
        _ => F::signed(negative, F::INFINITY),
    };
    match c {
        Value::Nan => F::NAN,
        Value::Infinity { negative: c } if c != negative => invalid::<F>(flags),
        _ => infinite_product,
    }
}

fn div<F: Format>(a: u64, b: u64, rm: Round, flags: &mut u8) -> u64 {
    let negative = F::is_negative(a ^ b);
    match (unpack::<F>(a, flags), unpack::<F>(b, flags)) {
        (Value::Nan, _) | (_, Value::Nan) => F::NAN,
        (Value::Infinity { .. }, Value::Infinity { .. }) => invalid::<F>(flags),
        (Value::Infinity { .. }, _) => F::signed(negative, F::INFINITY),
        (_, Value::Infinity { .. }) => F::signed(negative, 0),
        (Value::Finite(a), Value::Finite(b)) => match (a.is_zero(), b.is_zero()) {
            (true, true) => invalid::<F>(flags),
            (true, false) => F::signed(negative, 0),
            (false, true) => {
                *flags |= DZ;
                F::signed(negative, F::INFINITY)
            }
            (false, false) => round::<F>(quotient(a, b), rm, flags),
        },
    }
}

/// The quotient of two non-zero numbers to at least 74 bits and a sticky one.
fn quotient(a: Number, b: Number) -> Number {
    let a_long = a.normalised(127);
    let digits = a_long.significand / b.significand;
    let remainder = a_long.significand % b.significand;
    Number {
        negative: a.negative != b.negative,
        exponent: a_long.exponent - b.exponent,
        significand: digits | u128::from(remainder != 0),
    }
}

fn sqrt<F: Format>(a: u64, rm: Round, flags: &mut u8) -> u64 {
    match unpack::<F>(a, flags) {
        Value::Nan => F::NAN,
        Value::Finite(n) if n.is_zero() => a,
        Value::Finite(n) if !n.negative => round::<F>(root(n), rm, flags),
        Value::Infinity { negative: false } => F::INFINITY,
        _ => invalid::<F>(flags),
    }
}

/// The square root of a positive number to at least 63 bits and a sticky one.
fn root(n: Number) -> Number {
    let long = n.normalised(127);
    // An even exponent halves exactly; the bit that this may drop is one of the zeros shifted in.
    let odd = long.exponent & 1;
    let radicand = long.significand >> odd;
    let digits = radicand.isqrt();
    let inexact = digits * digits != radicand;
    Number {
        negative: false,
        // One place more for the sticky bit.
        exponent: (long.exponent + odd) / 2 - 1,
        significand: digits << 1 | u128::from(inexact),
    }
}

macro_rules! arithmetic {
    ($format:ty, $bits:ty, $($name:ident = $op:ident($($arg:ident),+);)+) => {$(
        #[doc = concat!("[`fp::", stringify!($name), "`](crate::fp::", stringify!($name), ").")]
        pub fn $name($($arg: $bits,)+ rm: Round, flags: &mut u8) -> $bits {
            $op::<$format>($(u64::from($arg),)+ rm, flags) as $bits
        }
    )+};
}

arithmetic! { Single, u32,
    add_s = add(a, b);
    sub_s = sub(a, b);
    mul_s = mul(a, b);
    div_s = div(a, b);
    sqrt_s = sqrt(a);
    fma_s = fma(a, b, c);
}

arithmetic! { Double, u64,
    add_d = add(a, b);
    sub_d = sub(a, b);
    mul_d = mul(a, b);
    div_d = div(a, b);
    sqrt_d = sqrt(a);
    fma_d = fma(a, b, c);
}
