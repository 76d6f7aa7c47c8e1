//! Floating point against LLVM's arbitrary-precision one (`rustc_apfloat`), and, rounding to nearest,
//! against Rust's own operators.

mod fp_operations;

use clade_riscv::fp::{self, CANONICAL_NAN_D, CANONICAL_NAN_S, Round, flags};
use fp_operations::{Failures, Kind, Operands, Specials};
use rustc_apfloat::ieee::{Double, Half, Single};
use rustc_apfloat::{Float, FloatConvert, Status, StatusAnd};

fn direction(rm: Round) -> rustc_apfloat::Round {
    match rm {
        Round::Rne => rustc_apfloat::Round::NearestTiesToEven,
        Round::Rtz => rustc_apfloat::Round::TowardZero,
        Round::Rdn => rustc_apfloat::Round::TowardNegative,
        Round::Rup => rustc_apfloat::Round::TowardPositive,
        Round::Rmm => rustc_apfloat::Round::NearestTiesToAway,
    }
}

fn fflags(status: Status) -> u8 {
    [
        (Status::INVALID_OP, flags::NV),
        (Status::DIV_BY_ZERO, flags::DZ),
        (Status::OVERFLOW, flags::OF),
        (Status::UNDERFLOW, flags::UF),
        (Status::INEXACT, flags::NX),
    ]
    .into_iter()
    .filter(|&(theirs, _)| status.intersects(theirs))
    .fold(0, |flags, (_, ours)| flags | ours)
}

/// Result and flags as RISC-V has them: every NaN is the canonical one.
fn outcome<F: Float>(result: StatusAnd<F>) -> (u64, u8) {
    let bits = if result.value.is_nan() {
        F::qnan(None)
    } else {
        result.value
    }
    .to_bits();
    (bits as u64, fflags(result.status))
}

/// Leaves to the other tests what LLVM answers otherwise than IEEE 754: it judges tininess by the
/// result, not by what full precision would have given, so that UF may differ for the least normal
/// number; and it raises no OF where overflow yields the greatest finite number.
fn judged<F: Float>((bits, raised): (u64, u8)) -> (u64, u8) {
    let magnitude = F::from_bits(bits.into()).abs().to_bits();
    if magnitude == F::smallest_normalized().to_bits() {
        (bits, raised & !flags::UF)
    } else if magnitude == F::largest().to_bits() {
        (bits, raised & !flags::OF)
    } else {
        (bits, raised)
    }
}

/// Calls `$function` with fresh flags.
macro_rules! ours {
    ($function:ident($($arg:expr),*)) => {{
        let mut flags = 0;
        #[allow(clippy::unnecessary_cast, reason = "the operations' types differ")]
        let result = fp::$function($($arg,)* &mut flags) as u64;
        (result, flags)
    }};
}

macro_rules! arithmetic_test {
    ($test:ident, $float:ty, $bits:ty, $native:ty, $nan:ident, $kind:expr, $values:ident:
        $add:ident $sub:ident $mul:ident $div:ident $sqrt:ident $fma:ident $round:ident $roundnx:ident
    ) => {
        #[test]
        fn $test() {
            let specials = Specials::read();
            let mut failures = Failures::default();
            let pairs = specials.$values.len() as u64;
            for case in 0..pairs * pairs + 20_000 {
                // All pairs of special operands first, then random ones.
                let mut source = Operands::new(stringify!($test), case);
                let mut random = || source.operand($kind, &specials);
                let (a, b, c) = if case < pairs * pairs {
                    let value = |at: u64| specials.$values[(at % pairs) as usize];
                    (value(case), value(case / pairs), random())
                } else {
                    (random(), random(), random())
                };
                let [a, b, c] = [a as $bits, b as $bits, c as $bits];
                let [x, y, z] = [a, b, c].map(|bits| <$float>::from_bits(bits.into()));
                for rm in Round::ALL {
                    let to = direction(rm);
                    for (name, ours, theirs) in [
                        ("add", ours!($add(a, b, rm)), x.add_r(y, to)),
                        ("sub", ours!($sub(a, b, rm)), x.sub_r(y, to)),
                        ("mul", ours!($mul(a, b, rm)), x.mul_r(y, to)),
                        ("div", ours!($div(a, b, rm)), x.div_r(y, to)),
                        ("fma", ours!($fma(a, b, c, rm)), x.mul_add_r(y, z, to)),
                        ("roundnx", ours!($roundnx(a, rm)), x.round_to_integral(to)),
                    ] {
                        let mut theirs = outcome(theirs);
                        // IEEE 754 leaves it open, RISC-V does not: ∞ × 0 + qNaN is invalid.
                        let invalid =
                            x.is_infinite() && y.is_zero() || x.is_zero() && y.is_infinite();
                        if name == "fma" && invalid || is_signalling(name, [x, y, z]) {
                            theirs.1 |= flags::NV;
                        }
                        let (ours, theirs) = (judged::<$float>(ours), judged::<$float>(theirs));
                        failures.compare(ours, theirs, || {
                            format!("{name}({a:#x}, {b:#x}, {c:#x}) {rm:?}")
                        });
                    }
                    let (quiet, raised) = ours!($round(a, rm));
                    let theirs = (outcome(x.round_to_integral(to)).0, 0);
                    let nv_apart = raised & !flags::NV;
                    failures.compare((quiet, nv_apart), theirs, || {
                        format!("round({a:#x}) {rm:?}")
                    });
                }
                let [x, y, z] = [a, b, c].map(<$native>::from_bits);
                for (name, ours, theirs) in [
                    ("add", ours!($add(a, b, Round::Rne)), x + y),
                    ("sub", ours!($sub(a, b, Round::Rne)), x - y),
                    ("mul", ours!($mul(a, b, Round::Rne)), x * y),
                    ("div", ours!($div(a, b, Round::Rne)), x / y),
                    ("sqrt", ours!($sqrt(a, Round::Rne)), x.sqrt()),
                    ("fma", ours!($fma(a, b, c, Round::Rne)), x.mul_add(y, z)),
                ] {
                    let theirs = if theirs.is_nan() {
                        $nan
                    } else {
                        theirs.to_bits()
                    };
                    failures.compare((ours.0, 0), (theirs.into(), 0), || {
                        format!("{name}({a:#x}, {b:#x}, {c:#x}), Rust's operator")
                    });
                }
            }
        }
    };
}

/// Whether any operand that the operation has is a signalling NaN: LLVM raises nothing for some.
fn is_signalling<F: Float>(name: &str, operands: [F; 3]) -> bool {
    let count = match name {
        "fma" => 3,
        "roundnx" => 1,
        _ => 2,
    };
    operands[..count]
        .iter()
        .any(|operand| operand.is_signaling())
}

arithmetic_test! { single, Single, u32, f32, CANONICAL_NAN_S, Kind::Single, single:
add_s sub_s mul_s div_s sqrt_s fma_s round_s roundnx_s }
arithmetic_test! { double, Double, u64, f64, CANONICAL_NAN_D, Kind::Double, double:
add_d sub_d mul_d div_d sqrt_d fma_d round_d roundnx_d }

fn converted<From: FloatConvert<To>, To: Float>(value: From, rm: Round) -> (u64, u8) {
    let (bits, raised) = outcome(value.convert_r(direction(rm), &mut false));
    let signalling = if value.is_signaling() { flags::NV } else { 0 };
    (bits, raised | signalling)
}

#[test]
fn between_formats() {
    let specials = Specials::read();
    let mut failures = Failures::default();
    let mut random = Operands::new("between_formats", 0);
    let mut doubles = specials.double.clone();
    doubles.extend((0..20_000).map(|_| random.operand(Kind::Double, &specials)));
    let mut singles = specials.single.clone();
    singles.extend((0..20_000).map(|_| random.operand(Kind::Single, &specials)));
    let mut check = |what: &str, rm: Round, ours: (u64, u8), theirs: (u64, u8)| {
        failures.compare(ours, theirs, || format!("{what} {rm:?}"));
    };
    for rm in Round::ALL {
        for &a in &doubles {
            let x = Double::from_bits(a.into());
            let (ours, theirs) = (ours!(d_to_s(a, rm)), converted::<_, Single>(x, rm));
            check(
                &format!("d_to_s({a:#x})"),
                rm,
                judged::<Single>(ours),
                judged::<Single>(theirs),
            );
            let (ours, theirs) = (ours!(d_to_h(a, rm)), converted::<_, Half>(x, rm));
            check(
                &format!("d_to_h({a:#x})"),
                rm,
                judged::<Half>(ours),
                judged::<Half>(theirs),
            );
        }
        for &a in &singles {
            let (a, x) = (a as u32, Single::from_bits(a.into()));
            let (ours, theirs) = (ours!(s_to_h(a, rm)), converted::<_, Half>(x, rm));
            check(
                &format!("s_to_h({a:#x})"),
                rm,
                judged::<Half>(ours),
                judged::<Half>(theirs),
            );
            let (ours, theirs) = (ours!(s_to_d(a)), converted::<_, Double>(x, rm));
            check(&format!("s_to_d({a:#x})"), rm, ours, theirs);
        }
    }
    for a in 0..=u16::MAX {
        let x = Half::from_bits(a.into());
        let single = converted::<_, Single>(x, Round::Rne);
        check(
            &format!("h_to_s({a:#x})"),
            Round::Rne,
            ours!(h_to_s(a)),
            single,
        );
        let double = converted::<_, Double>(x, Round::Rne);
        check(
            &format!("h_to_d({a:#x})"),
            Round::Rne,
            ours!(h_to_d(a)),
            double,
        );
    }
}

#[test]
fn from_integers() {
    let specials = Specials::read();
    let mut failures = Failures::default();
    for case in 0..20_000 {
        let a = Operands::new("from_integers", case).operand(Kind::Integer, &specials);
        for rm in Round::ALL {
            let single = |value: i128| outcome(Single::from_i128_r(value, direction(rm)));
            let double = |value: i128| outcome(Double::from_i128_r(value, direction(rm)));
            for (name, ours, theirs) in [
                (
                    "i32_to_s",
                    ours!(i32_to_s(a as i32, rm)),
                    single((a as i32).into()),
                ),
                (
                    "u32_to_s",
                    ours!(u32_to_s(a as u32, rm)),
                    single((a as u32).into()),
                ),
                (
                    "i64_to_s",
                    ours!(i64_to_s(a as i64, rm)),
                    single((a as i64).into()),
                ),
                ("u64_to_s", ours!(u64_to_s(a, rm)), single(a.into())),
                (
                    "i32_to_d",
                    ours!(i32_to_d(a as i32, rm)),
                    double((a as i32).into()),
                ),
                (
                    "u32_to_d",
                    ours!(u32_to_d(a as u32, rm)),
                    double((a as u32).into()),
                ),
                (
                    "i64_to_d",
                    ours!(i64_to_d(a as i64, rm)),
                    double((a as i64).into()),
                ),
                ("u64_to_d", ours!(u64_to_d(a, rm)), double(a.into())),
            ] {
                failures.compare(ours, theirs, || format!("{name}({a:#x}) {rm:?}"));
            }
        }
    }
}
