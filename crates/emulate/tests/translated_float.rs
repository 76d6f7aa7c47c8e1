//! Translated floating point must do what the interpreter does, bit for bit and flag for flag.

#[allow(dead_code)] // Only what makes programs.
mod oracle;

#[allow(dead_code)]
#[path = "lockstep/machine.rs"]
mod machine;

use clade_emulate::{Tier, Tuning};
use clade_riscv::csr::address::*;
use clade_riscv::csr::status;
use clade_riscv::isa::{Class, Op};

use machine::{BASE, Machine};
use oracle::assembler::Assembler;
use oracle::instructions::operands::special;
use oracle::machine_code::{finish, jump_word};
use oracle::random::Random;

const DYNAMIC: u8 = 7;

// What programs keep in integer registers. The trap handler uses x30.
const ZERO: u8 = 0;
const INPUT: u8 = 5;
const OUTPUT: u8 = 6;
const TEMPORARY: u8 = 7;
const COUNTER: u8 = 18;
const FS_DIRTY: u8 = 19;
const FS_CLEAN: u8 = 20;

fn tuning(tier: Tier) -> Tuning {
    Tuning {
        tier,
        hot_after: 0,
        code_bytes: 1 << 20,
        exact_polls: true,
        ..Tuning::default()
    }
}

/// Two machines with the same program: that of the interpreter, and that of the translator.
fn machines(image: &[u8]) -> [Machine; 2] {
    [Tier::Interpreter, Tier::Translator].map(|tier| Machine::new(image, tuning(tier)))
}

/// Begins a program: traps are skipped, with floating point on again.
fn prologue(code: &mut Assembler) {
    let over_handler = code.here();
    code.word(0);
    let handler = code.here();
    code.immediate(Op::Csrrs, ZERO, FS_DIRTY, i32::from(MSTATUS));
    code.csr_read(30, MEPC);
    code.immediate(Op::Addi, 30, 30, 4);
    code.csr_swap(ZERO, MEPC, 30);
    code.plain(Op::Mret);
    let start = code.here();
    code.patch(over_handler, jump_word(over_handler, start));
    code.address(30, handler);
    code.csr_swap(ZERO, MTVEC, 30);
    code.constant(FS_DIRTY, status::FS);
    code.constant(FS_CLEAN, status::FS & status::FS << 1);
    code.immediate(Op::Csrrs, ZERO, FS_DIRTY, i32::from(MSTATUS));
}

/// All floating-point computations.
fn computations() -> impl Iterator<Item = Op> {
    let all = Op::ALL.iter().copied();
    all.filter(|op| op.spec().class == Class::Float)
}

/// The rounding modes that an instruction can name.
fn rounding_modes(op: Op) -> &'static [u8] {
    if op.spec().format.letters().contains('m') {
        &[0, 1, 2, 3, 4, DYNAMIC]
    } else {
        &[0]
    }
}

/// Registers of an instruction.
struct Registers {
    rd: u8,
    rs1: u8,
    rs2: u8,
    rs3: u8,
}

/// A computation with those of the operands that it has.
fn computation(op: Op, at: &Registers, rm: u8) -> u32 {
    let spec = op.spec();
    let fields = [
        (at.rd, 7),
        (rm, 12),
        (at.rs1, 15),
        (at.rs2, 20),
        (at.rs3, 27),
    ];
    let operands = fields.map(|(value, position)| u32::from(value) << position);
    spec.value | operands.into_iter().fold(0, |all, operand| all | operand) & !spec.mask
}

mod each_operation {
    use super::*;

    const ROWS: u64 = 1200;
    /// Rows of `fcsr` and three operands, of which the first also is the integer.
    const INPUTS: u64 = BASE + 0x1_0000;
    const INPUT_SIZE: u64 = 32;
    /// For each row and rounding mode: the `f` and the `x` register of the result, and `fcsr`.
    const RESULTS: u64 = BASE + 0x2_0000;
    const RESULT_SIZE: u64 = 24;

    /// The same numbers are those of integer registers, which are in host registers or not.
    const REGISTERS: [Registers; 2] = [
        Registers {
            rd: 10,
            rs1: 12,
            rs2: 11,
            rs3: 3,
        },
        Registers {
            rd: 28,
            rs1: 29,
            rs2: 3,
            rs3: 11,
        },
    ];

    fn emit_row(code: &mut Assembler, op: Op, rm: u8, at: &Registers) {
        code.immediate(Op::Ld, TEMPORARY, INPUT, 0);
        code.csr_swap(ZERO, FCSR, TEMPORARY);
        code.immediate(Op::Fld, at.rs1, INPUT, 8);
        code.immediate(Op::Fld, at.rs2, INPUT, 16);
        code.immediate(Op::Fld, at.rs3, INPUT, 24);
        code.immediate(Op::Ld, at.rs1, INPUT, 8);
        code.word(computation(op, at, rm));
        code.store(Op::Fsd, at.rd, OUTPUT, 0);
        code.store(Op::Sd, at.rd, OUTPUT, 8);
        code.csr_read(TEMPORARY, FCSR);
        code.store(Op::Sd, TEMPORARY, OUTPUT, 16);
        code.immediate(Op::Addi, OUTPUT, OUTPUT, RESULT_SIZE as i32);
    }

    fn program(op: Op, rows: &[[u64; 4]]) -> Vec<u8> {
        let mut code = Assembler::new(BASE);
        prologue(&mut code);
        code.address(INPUT, INPUTS);
        code.address(OUTPUT, RESULTS);
        code.constant(COUNTER, rows.len() as u64);
        let again = code.here();
        for (index, &rm) in rounding_modes(op).iter().enumerate() {
            emit_row(&mut code, op, rm, &REGISTERS[index % 2]);
        }
        code.immediate(Op::Addi, INPUT, INPUT, INPUT_SIZE as i32);
        code.immediate(Op::Addi, COUNTER, COUNTER, -1);
        code.branch(Op::Bne, COUNTER, ZERO, again);
        finish(&mut code);
        code.skip_to(INPUTS);
        rows.iter().flatten().for_each(|&value| code.double(value));
        code.bytes
    }

    fn rows(random: &mut Random) -> Vec<[u64; 4]> {
        let row = |_| {
            let frm = random.pick(&[0, 0, 1, 2, 3, 4, 5, 7]);
            let flags = random.pick(&[0, 0, 1, 0x1f]);
            let [a, b, c] = operands(random);
            [frm << 5 | flags, a, b, c]
        };
        (0..ROWS).map(row).collect()
    }

    /// The results of all rows, by one tier.
    fn results(mut machine: Machine, op: Op) -> Vec<u64> {
        while !machine.is_done() {
            machine.advance(0, 10_000);
        }
        let from = (RESULTS - BASE) as usize;
        let count = ROWS * rounding_modes(op).len() as u64;
        let size = (count * RESULT_SIZE) as usize;
        oracle::doublewords(&machine.memory()[from..from + size])
    }

    #[test]
    fn equals_the_interpreters() {
        let mut random = Random::new(1);
        let rows = rows(&mut random);
        for op in computations() {
            let image = program(op, &rows);
            let [expected, found] = machines(&image).map(|machine| results(machine, op));
            let modes = rounding_modes(op);
            let pairs = expected.chunks_exact(3).zip(found.chunks_exact(3));
            for (index, (expected, found)) in pairs.enumerate() {
                let (row, rm) = (rows[index / modes.len()], modes[index % modes.len()]);
                assert!(
                    expected == found,
                    "{op:?}, rm {rm}, of {row:#x?}: {expected:#x?}, and not {found:#x?}"
                );
            }
        }
    }
}

/// Three operands that have something to do with one another.
fn operands(random: &mut Random) -> [u64; 3] {
    match random.below(5) {
        0 => [(); 3].map(|()| near_limit(random)),
        1 => [(); 3].map(|()| close(random, 52, 11)),
        2 => [(); 3].map(|()| close(random, 23, 8) | 0xffff_ffff << 32),
        _ => [(); 3].map(|()| special(random)),
    }
}

/// A number near a limit of the integers, or the nearest that its format has.
fn near_limit(random: &mut Random) -> u64 {
    let limit = random.pick(&[
        0.0,
        (1u64 << 31) as f64,
        (1u64 << 32) as f64,
        -(i64::MIN as f64),
    ]);
    let quarters = random.below(17) as f64 - 8.0;
    let value = limit * random.pick(&[1.0, 1.0, 2.0]) + quarters / 4.0;
    let value = if random.chance(1, 3) { -value } else { value };
    let bits = match random.below(3) {
        0 => u64::from((value as f32).to_bits()) | 0xffff_ffff << 32,
        _ => value.to_bits(),
    };
    bits.wrapping_add(random.pick(&[0, 0, 0, 1, u64::MAX]))
}

/// A number of a few binades around 1, the least or the greatest, with a short fraction often:
/// sums cancel, products are exact or tiny or too large.
fn close(random: &mut Random, fraction_bits: u32, exponent_bits: u32) -> u64 {
    let greatest = (1u64 << exponent_bits) - 2;
    let exponent = match random.below(6) {
        0 => random.below(4),
        1 => greatest - random.below(3),
        2 => greatest / 4 + random.below(4),
        _ => greatest / 2 - 1 + random.below(4),
    };
    let fraction = random.bits() & ((1 << fraction_bits) - 1);
    let keep = random.pick(&[0, 1, 2, fraction_bits / 2, fraction_bits]);
    let fraction = fraction >> (fraction_bits - keep) << (fraction_bits - keep);
    let sign = random.below(2) << (fraction_bits + exponent_bits);
    sign | exponent << fraction_bits | fraction
}

mod sequences {
    use super::*;

    const PROGRAMS: u64 = 150;
    const INSTRUCTIONS: u64 = 300;
    const LOOPS: u64 = 4;
    /// Values to load.
    const POOL: u64 = BASE + 0x4000;
    const POOL_ENTRIES: u64 = 256;
    /// Where values are stored to. The page behind is another one.
    const SCRATCH: u64 = BASE + 0x5e00;

    /// Registers of all kinds: of integers, half are in host registers.
    fn register(random: &mut Random) -> u8 {
        random.pick(&[8, 10, 12, 15, 21, 24, 28, 29])
    }

    fn emit(code: &mut Assembler, random: &mut Random, computations: &[Op]) {
        match random.below(64) {
            0..40 => compute(code, random, computations),
            40..52 => {
                let op = random.pick(&[Op::Fld, Op::Fld, Op::Flw, Op::Flw, Op::Flh, Op::Ld]);
                let (rd, offset) = (register(random), random.below(8 * POOL_ENTRIES - 8));
                code.immediate(op, rd, INPUT, (offset & !7) as i32);
            }
            52..60 => {
                let op = random.pick(&[Op::Fsd, Op::Fsd, Op::Fsw, Op::Fsw, Op::Fsh, Op::Sd]);
                let (rs2, offset) = (register(random), random.below(0x400 - 8));
                code.store(op, rs2, OUTPUT, offset as i32);
            }
            60 => {
                let modes = [0, 0, 0, 1, 2, 3, 4, 5];
                code.immediate(Op::Csrrwi, ZERO, random.pick(&modes), i32::from(FRM));
            }
            61 => code.csr_swap(register(random), FFLAGS, register(random)),
            62 => code.immediate(Op::Csrrc, ZERO, FS_DIRTY, i32::from(MSTATUS)),
            _ => {
                code.immediate(Op::Csrrc, ZERO, FS_DIRTY, i32::from(MSTATUS));
                code.immediate(Op::Csrrs, ZERO, FS_CLEAN, i32::from(MSTATUS));
            }
        }
    }

    fn compute(code: &mut Assembler, random: &mut Random, computations: &[Op]) {
        let op = random.pick(computations);
        let modes = rounding_modes(op);
        let rm = match modes {
            [only] => *only,
            _ if random.chance(1, 5) => random.pick(modes),
            _ => random.pick(&[DYNAMIC, DYNAMIC, DYNAMIC, 0]),
        };
        let at = Registers {
            rd: register(random),
            rs1: register(random),
            rs2: register(random),
            rs3: register(random),
        };
        code.word(computation(op, &at, rm));
    }

    fn program(seed: u64, computations: &[Op]) -> Vec<u8> {
        let mut random = Random::new(seed);
        let mut code = Assembler::new(BASE);
        prologue(&mut code);
        code.address(INPUT, POOL);
        code.address(OUTPUT, SCRATCH);
        code.constant(COUNTER, LOOPS);
        let again = code.here();
        for _ in 0..INSTRUCTIONS {
            emit(&mut code, &mut random, computations);
        }
        code.immediate(Op::Addi, COUNTER, COUNTER, -1);
        code.branch(Op::Bne, COUNTER, ZERO, again);
        finish(&mut code);
        code.skip_to(POOL);
        for _ in 0..POOL_ENTRIES / 2 {
            code.double(special(&mut random));
            code.double(operands(&mut random)[0]);
        }
        code.bytes
    }

    #[test]
    fn leave_what_they_leave_by_the_interpreter() {
        let computations: Vec<Op> = computations().collect();
        for seed in 0..PROGRAMS {
            let [mut expected, mut found] = machines(&program(seed, &computations));
            let mut random = Random::new(seed);
            while !expected.is_done() {
                let stride = 1 + random.below(200);
                expected.advance(0, stride);
                found.advance(0, stride);
                assert_eq!(expected.hart(), found.hart(), "program {seed}");
            }
            assert!(found.is_done());
            assert!(expected.memory() == found.memory(), "program {seed}");
        }
    }

    /// What takes most of the host's memory: fused operations on singles that nobody has seen
    /// boxed, each of which may have to have all that is held loaded again.
    #[test]
    fn may_be_as_long_as_code_can_be() {
        const GROUPS: u64 = 25;
        const BRANCH_REACH: u64 = 4096 - 4;
        let mut code = Assembler::new(BASE);
        prologue(&mut code);
        code.address(INPUT, POOL);
        for register in 0..32 {
            code.immediate(Op::Flw, register, INPUT, 4 * i32::from(register));
        }
        for group in 0..GROUPS {
            let count = if group == GROUPS - 1 { 64 } else { 10 };
            for first in (0..count).map(|index| index % 10 * 3) {
                let [rs1, rs2, rs3] = [first, first + 1, first + 2];
                let at = Registers {
                    rd: 31,
                    rs1,
                    rs2,
                    rs3,
                };
                code.word(computation(Op::FmaddS, &at, DYNAMIC));
            }
            let elsewhere = code.here() + BRANCH_REACH;
            code.branch(Op::Blt, COUNTER, ZERO, elsewhere);
        }
        finish(&mut code);
        code.skip_to(POOL);
        (0..32).for_each(|value| code.word(0x3f80_0000 + value));
        let [mut expected, mut found] = machines(&code.bytes);
        for machine in [&mut expected, &mut found] {
            while !machine.is_done() {
                machine.advance(0, 1000);
            }
        }
        assert_eq!(expected.hart(), found.hart());
    }
}
