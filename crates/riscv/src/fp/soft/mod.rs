//! The operations in exact integer arithmetic: the same on every host, in every rounding mode.
//!
//! The functions have the signatures of their namesakes in [`fp`](super), which answer faster where
//! the host can help. Each computes the exact result, or one with a sticky last bit, and rounds once.
//!
//! It is our own because the crate that would do, `rustc_apfloat`, has no square root, raises UF by
//! the rounded result and no OF where overflow rounds to the greatest finite number; the tests still
//! hold the rest against it.

mod arith;
mod convert;

pub use arith::{
    add_d, add_s, div_d, div_s, fma_d, fma_s, mul_d, mul_s, sqrt_d, sqrt_s, sub_d, sub_s,
};
pub use convert::{
    d_to_h, d_to_i32, d_to_i32_mod, d_to_i64, d_to_s, d_to_u32, d_to_u64, h_to_d, h_to_s, i32_to_d,
    i32_to_s, i64_to_d, i64_to_s, round_d, round_s, roundnx_d, roundnx_s, s_to_d, s_to_h, s_to_i32,
    s_to_i64, s_to_u32, s_to_u64, u32_to_d, u32_to_s, u64_to_d, u64_to_s,
};
