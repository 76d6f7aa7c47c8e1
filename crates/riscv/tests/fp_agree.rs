//! The host's floating-point unit against the integer implementation: all pairs of special operands,
//! many random ones, and operands made to fall near a rounding boundary, in every rounding mode.

mod fp_operations;

use clade_riscv::fp::{Round, flags};
use fp_operations::{Failures, Kind, Operands, Operation, Specials, operations};

/// Both ways, with the flags clear and with NX already set, which opens the fast way.
fn check(operation: &Operation, operands: [u64; 3], failures: &mut Failures) {
    let [a, b, c] = operands;
    for rm in Round::ALL {
        let mut raised = 0;
        let expected = (operation.soft)(a, b, c, rm, &mut raised);
        for before in [0, flags::NX] {
            let mut after = before;
            let result = (operation.fast)(a, b, c, rm, &mut after);
            failures.compare((result, after), (expected, raised | before), || {
                format!("{}({a:#x}, {b:#x}, {c:#x}) {rm:?}", operation.name)
            });
        }
    }
}

fn named(name: &str) -> Operation {
    let mut all = operations();
    let at = all.iter().position(|operation| operation.name == name);
    all.swap_remove(at.expect("an operation of that name"))
}

#[test]
fn on_all_pairs_of_special_operands() {
    let specials = Specials::read();
    let mut failures = Failures::default();
    for operation in operations() {
        let values = match operation.operands[0] {
            Kind::Single => &specials.single,
            Kind::Double => &specials.double,
            _ => continue,
        };
        for (i, &a) in values.iter().enumerate() {
            for (j, &b) in values.iter().enumerate() {
                // The third operand walks through the values too.
                let c = values[(i * 7 + j * 3) % values.len()];
                check(&operation, [a, b, c], &mut failures);
            }
        }
    }
}

#[test]
fn on_random_operands() {
    let specials = Specials::read();
    let mut failures = Failures::default();
    for operation in operations() {
        for case in 0..10_000 {
            let mut source = Operands::new("on_random_operands", case);
            let operands = operation
                .operands
                .map(|kind| source.operand(kind, &specials));
            check(&operation, operands, &mut failures);
        }
    }
}

/// Sums and fused sums that cancel, all but for a few units in the last place.
#[test]
fn near_cancellation() {
    let specials = Specials::read();
    let mut failures = Failures::default();
    for (kind, multiply, fused, sign) in [
        (Kind::Single, "mul_s", "fma_s", 1 << 31),
        (Kind::Double, "mul_d", "fma_d", 1 << 63),
    ] {
        let (multiply, fused) = (named(multiply), named(fused));
        for case in 0..20_000 {
            let mut source = Operands::new("near_cancellation", case);
            let a = source.operand(kind, &specials);
            let b = source.operand(kind, &specials);
            let product = (multiply.soft)(a, b, 0, Round::Rne, &mut 0);
            let c = (product ^ sign).wrapping_add(case % 5).wrapping_sub(2) & (sign | (sign - 1));
            check(&fused, [a, b, c], &mut failures);
        }
    }
}

/// Products and quotients about the least normal number, where tininess is decided, and about the
/// greatest finite one.
#[test]
fn near_the_ends_of_the_range() {
    let specials = Specials::read();
    let mut failures = Failures::default();
    // The kind, the fraction's bits and the exponent bias.
    for (kind, suffix, fraction, bias) in
        [(Kind::Single, "s", 23, 127), (Kind::Double, "d", 52, 1023)]
    {
        let multiply = named(&format!("mul_{suffix}"));
        let fused = named(&format!("fma_{suffix}"));
        let divide = named(&format!("div_{suffix}"));
        for case in 0..20_000u64 {
            let mut source = Operands::new("near_the_ends_of_the_range", case);
            // Close above one, close below two, or any: products of the first two all but reach a
            // power of two, and only rounding decides whether they do.
            let mut significand = || {
                let bits = source.operand(kind, &specials);
                match (bits >> 4) % 3 {
                    0 => bits & 3,
                    1 => ((1 << fraction) - 1) - (bits & 3),
                    _ => bits & ((1 << fraction) - 1),
                }
            };
            let (a, b, c) = (significand(), significand(), significand());
            let half = bias / 2 + case % 3;
            let low = [
                a | half << fraction,
                b | (bias - half) << fraction,
                case & 3,
            ];
            check(&multiply, low, &mut failures);
            check(&fused, low, &mut failures);
            check(&fused, [low[0], low[1], c & 0xff], &mut failures);
            let high = [
                a | (bias + half) << fraction,
                b | (2 * bias - half) << fraction,
                c,
            ];
            check(&multiply, high, &mut failures);
            check(&fused, high, &mut failures);
            check(&divide, [low[0], high[1], 0], &mut failures);
            check(&divide, [high[0], low[1], 0], &mut failures);
        }
    }
}
