//! What the floating-point tests share: a table of all operations, and a source of operands.

#![allow(dead_code, reason = "each test program uses a part")]

use clade_riscv::fp::{self, Round, soft};

/// An operation over raw bits, whatever its operands' types are.
pub(crate) type Function = fn(a: u64, b: u64, c: u64, rm: Round, flags: &mut u8) -> u64;

/// What an operand is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    None,
    Half,
    Single,
    Double,
    Integer,
    Index,
}

/// One operation, as the guest sees it and as [`soft`] computes it.
pub(crate) struct Operation {
    pub(crate) name: &'static str,
    pub(crate) operands: [Kind; 3],
    pub(crate) fast: Function,
    pub(crate) soft: Function,
}

const SIGN_S: u32 = 1 << 31;
const SIGN_D: u64 = 1 << 63;

/// An operation of which there is one implementation.
fn op(name: &'static str, kinds: &str, function: Function) -> Operation {
    op2(name, kinds, function, function)
}

fn op2(name: &'static str, kinds: &str, fast: Function, soft: Function) -> Operation {
    let kind = |at| match kinds.as_bytes().get(at) {
        None => Kind::None,
        Some(b'h') => Kind::Half,
        Some(b's') => Kind::Single,
        Some(b'd') => Kind::Double,
        Some(b'i') => Kind::Integer,
        Some(b'n') => Kind::Index,
        Some(other) => panic!("operand kind {other}"),
    };
    Operation {
        name,
        operands: [kind(0), kind(1), kind(2)],
        fast,
        soft,
    }
}

/// Three operands, a rounding mode, and both implementations.
macro_rules! rounded {
    ($name:ident, $kinds:literal, |$a:ident, $b:ident, $c:ident| ($($arg:expr),+)) => {
        op2(
            stringify!($name),
            $kinds,
            |$a, $b, $c, rm, flags| { let _ = ($b, $c); fp::$name($($arg,)+ rm, flags) as u64 },
            |$a, $b, $c, rm, flags| { let _ = ($b, $c); soft::$name($($arg,)+ rm, flags) as u64 },
        )
    };
}

macro_rules! format_operations {
    ($kind:literal, $bits:ident, $sign:ident:
        $add:ident $sub:ident $mul:ident $div:ident $sqrt:ident $fma:ident
        $fmsub:literal $fnmsub:literal $fnmadd:literal
        $min:ident $max:ident $minm:ident $maxm:ident
        $eq:ident $lt:ident $le:ident $ltq:ident $leq:ident $class:ident
        $to_i32:ident $to_u32:ident $to_i64:ident $to_u64:ident
        $from_i32:ident $from_u32:ident $from_i64:ident $from_u64:ident
        $to_h:ident $from_h:ident $round:ident $roundnx:ident
    ) => {
        vec![
            rounded!($add, $kind, |a, b, _c| (a as $bits, b as $bits)),
            rounded!($sub, $kind, |a, b, _c| (a as $bits, b as $bits)),
            rounded!($mul, $kind, |a, b, _c| (a as $bits, b as $bits)),
            rounded!($div, $kind, |a, b, _c| (a as $bits, b as $bits)),
            rounded!($sqrt, $kind, |a, _b, _c| (a as $bits)),
            rounded!($fma, $kind, |a, b, c| (a as $bits, b as $bits, c as $bits)),
            op($fmsub, $kind, |a, b, c, rm, flags| {
                fp::$fma(a as $bits, b as $bits, c as $bits ^ $sign, rm, flags) as u64
            }),
            op($fnmsub, $kind, |a, b, c, rm, flags| {
                fp::$fma(a as $bits ^ $sign, b as $bits, c as $bits, rm, flags) as u64
            }),
            op($fnmadd, $kind, |a, b, c, rm, flags| {
                fp::$fma(
                    a as $bits ^ $sign,
                    b as $bits,
                    c as $bits ^ $sign,
                    rm,
                    flags,
                ) as u64
            }),
            op(stringify!($min), $kind, |a, b, _, _, flags| {
                fp::$min(a as $bits, b as $bits, flags) as u64
            }),
            op(stringify!($max), $kind, |a, b, _, _, flags| {
                fp::$max(a as $bits, b as $bits, flags) as u64
            }),
            op(stringify!($minm), $kind, |a, b, _, _, flags| {
                fp::$minm(a as $bits, b as $bits, flags) as u64
            }),
            op(stringify!($maxm), $kind, |a, b, _, _, flags| {
                fp::$maxm(a as $bits, b as $bits, flags) as u64
            }),
            op(stringify!($eq), $kind, |a, b, _, _, flags| {
                fp::$eq(a as $bits, b as $bits, flags).into()
            }),
            op(stringify!($lt), $kind, |a, b, _, _, flags| {
                fp::$lt(a as $bits, b as $bits, flags).into()
            }),
            op(stringify!($le), $kind, |a, b, _, _, flags| {
                fp::$le(a as $bits, b as $bits, flags).into()
            }),
            op(stringify!($ltq), $kind, |a, b, _, _, flags| {
                fp::$ltq(a as $bits, b as $bits, flags).into()
            }),
            op(stringify!($leq), $kind, |a, b, _, _, flags| {
                fp::$leq(a as $bits, b as $bits, flags).into()
            }),
            op(stringify!($class), $kind, |a, _, _, _, _| {
                fp::$class(a as $bits)
            }),
            rounded!($to_i32, $kind, |a, _b, _c| (a as $bits)),
            rounded!($to_u32, $kind, |a, _b, _c| (a as $bits)),
            rounded!($to_i64, $kind, |a, _b, _c| (a as $bits)),
            rounded!($to_u64, $kind, |a, _b, _c| (a as $bits)),
            rounded!($from_i32, "i", |a, _b, _c| (a as i32)),
            rounded!($from_u32, "i", |a, _b, _c| (a as u32)),
            rounded!($from_i64, "i", |a, _b, _c| (a as i64)),
            rounded!($from_u64, "i", |a, _b, _c| (a)),
            rounded!($to_h, $kind, |a, _b, _c| (a as $bits)),
            op(stringify!($from_h), "h", |a, _, _, _, flags| {
                fp::$from_h(a as u16, flags) as u64
            }),
            rounded!($round, $kind, |a, _b, _c| (a as $bits)),
            rounded!($roundnx, $kind, |a, _b, _c| (a as $bits)),
        ]
    };
}

/// Every operation that there is.
pub(crate) fn operations() -> Vec<Operation> {
    let mut operations: Vec<Operation> = format_operations! { "sss", u32, SIGN_S:
        add_s sub_s mul_s div_s sqrt_s fma_s "fmsub_s" "fnmsub_s" "fnmadd_s"
        min_s max_s minm_s maxm_s eq_s lt_s le_s ltq_s leq_s class_s
        s_to_i32 s_to_u32 s_to_i64 s_to_u64 i32_to_s u32_to_s i64_to_s u64_to_s
        s_to_h h_to_s round_s roundnx_s
    };
    operations.extend(format_operations! { "ddd", u64, SIGN_D:
        add_d sub_d mul_d div_d sqrt_d fma_d "fmsub_d" "fnmsub_d" "fnmadd_d"
        min_d max_d minm_d maxm_d eq_d lt_d le_d ltq_d leq_d class_d
        d_to_i32 d_to_u32 d_to_i64 d_to_u64 i32_to_d u32_to_d i64_to_d u64_to_d
        d_to_h h_to_d round_d roundnx_d
    });
    operations.extend([
        op2(
            "s_to_d",
            "s",
            |a, _, _, _, flags| fp::s_to_d(a as u32, flags),
            |a, _, _, _, flags| soft::s_to_d(a as u32, flags),
        ),
        rounded!(d_to_s, "d", |a, _b, _c| (a)),
        op("d_to_i32_mod", "d", |a, _, _, _, flags| {
            fp::d_to_i32_mod(a, flags) as u64
        }),
        op("fli_s", "n", |a, _, _, _, _| fp::fli_s(a as u8).into()),
        op("fli_d", "n", |a, _, _, _, _| fp::fli_d(a as u8)),
        op("fli_h", "n", |a, _, _, _, _| fp::fli_h(a as u8).into()),
    ]);
    operations
}

/// Special binary32 and binary64 operands: both signs of zeros, subnormals, the neighbours of powers
/// of two, halves, limits of the integer types, infinities, and NaNs of both sorts.
pub(crate) struct Specials {
    pub(crate) single: Vec<u64>,
    pub(crate) double: Vec<u64>,
}

impl Specials {
    pub(crate) fn read() -> Self {
        let parse = |text: &str| -> Vec<u64> {
            text.lines()
                .map(|line| line.trim_start_matches("0x").trim_end_matches(','))
                .map(|digits| u64::from_str_radix(digits, 16).expect("a hexadecimal number"))
                .collect()
        };
        Self {
            single: parse(include_str!("../oracle/specials_s.inc")),
            double: parse(include_str!("../oracle/specials_d.inc")),
        }
    }
}

/// The operands of one case after another, exactly as `oracle/oracle.c` draws them.
pub(crate) struct Operands {
    state: u64,
}

impl Operands {
    /// The source for case `case` of the operation named `name`.
    pub(crate) fn new(name: &str, case: u64) -> Self {
        let seed = name.bytes().fold(0u64, |seed, byte| {
            seed.wrapping_mul(31).wrapping_add(byte.into())
        });
        Self {
            state: seed << 32 | case,
        }
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = self.state;
        let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// The next operand of the given kind.
    pub(crate) fn operand(&mut self, kind: Kind, specials: &Specials) -> u64 {
        let choice = self.next();
        let bits = self.next();
        let spread = (choice >> 8) % 64;
        let pick = |values: &[u64]| values[((choice >> 2) % values.len() as u64) as usize];
        match (kind, choice & 3) {
            (Kind::None, _) => 0,
            (Kind::Half, _) => bits & 0xffff,
            (Kind::Index, _) => bits & 31,
            (Kind::Single, 0 | 1) => pick(&specials.single),
            (Kind::Single, 2) => bits & 0xffff_ffff,
            (Kind::Single, _) => bits & 0x807f_ffff | (95 + spread) << 23,
            (Kind::Double, 0 | 1) => pick(&specials.double),
            (Kind::Double, 2) => bits,
            (Kind::Double, _) => bits & 0x800f_ffff_ffff_ffff | (991 + spread) << 52,
            (Kind::Integer, 0) => (1u64 << spread)
                .wrapping_add((choice >> 16) % 5)
                .wrapping_sub(2),
            (Kind::Integer, _) => (if choice & 4 != 0 { u64::MAX } else { 0 }) ^ bits >> spread,
        }
    }
}

/// Collects what disagrees, and reports it all at once when dropped.
#[derive(Default)]
pub(crate) struct Failures {
    count: u64,
    first: Vec<String>,
}

impl Failures {
    /// Compares result and flags with what they should be.
    pub(crate) fn compare(
        &mut self,
        ours: (u64, u8),
        theirs: (u64, u8),
        describe: impl FnOnce() -> String,
    ) {
        if ours != theirs {
            self.count += 1;
            if self.first.len() < 30 {
                let ((result, flags), (other, other_flags)) = (ours, theirs);
                self.first.push(format!(
                    "{}: {result:#x} {flags:#07b}, should be {other:#x} {other_flags:#07b}",
                    describe()
                ));
            }
        }
    }
}

impl Drop for Failures {
    fn drop(&mut self) {
        if self.count > 0 && !std::thread::panicking() {
            panic!("{} failures:\n{}", self.count, self.first.join("\n"));
        }
    }
}
