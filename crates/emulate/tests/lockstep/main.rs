//! The translator must do what the interpreter does: two machines with the same memory run side
//! by side, and their states are compared after every few instructions.
//!
//! - `CLADE_LOCKSTEP_PROGRAMS=n` runs that many programs of each kind instead of a few.
//! - `CLADE_LOCKSTEP_SEED=n` begins with the program of that seed, and runs only that one unless a
//!   number of programs is given too.

#[allow(dead_code)] // Programs and the means to make them; what talks to Spike is not needed here.
#[path = "../oracle/mod.rs"]
mod oracle;

#[path = "../common/mod.rs"]
mod common;

mod inherited;
mod machine;
mod pair;
mod program;
mod report;
mod tuning;

use std::collections::BTreeSet;

use clade_emulate::{Tier, Tuning};
use clade_riscv::isa::Op;

use machine::{BASE, Machine};
use oracle::assembler::Assembler;
use oracle::campaign::{self, say};
use oracle::random::Random;
use oracle::{instructions, privileged};
use pair::{Pair, Stride};

/// A generator of programs: what it is called, and its program for a seed.
struct Kind {
    name: &'static str,
    program: fn(u64) -> Vec<u8>,
    /// Programs to run when nobody says how many.
    programs: u64,
    /// Instructions of each that are executed at most.
    length: u64,
}

/// Where the seeds begin when nobody says.
const FIRST_SEED: u64 = 5000;

#[test]
fn random_instructions() {
    check(&Kind {
        name: "instructions",
        program: instructions::program,
        programs: 200,
        length: 50_000,
    });
}

#[test]
fn random_probes_of_privilege() {
    check(&Kind {
        name: "privileged",
        program: privileged::program,
        programs: 100,
        length: 50_000,
    });
}

#[test]
fn wandering_programs() {
    check(&Kind {
        name: "wandering",
        program: program::program,
        programs: 300,
        length: 50_000,
    });
}

fn check(kind: &Kind) {
    let seeds = campaign::seeds("CLADE_LOCKSTEP", FIRST_SEED, kind.programs);
    say(&format!(
        "{} programs of {} in lockstep, from CLADE_LOCKSTEP_SEED={} on",
        seeds.end - seeds.start,
        kind.name,
        seeds.start
    ));
    campaign::run(seeds, |seed| run(kind, seed));
}

fn run(kind: &Kind, seed: u64) -> Result<(), String> {
    let image = (kind.program)(seed);
    let mut random = Random::new(seed);
    let tuning = tuning::any(&mut random);
    let strides = strides(&mut random, kind.length);
    let make = || Pair {
        reference: Machine::new(&image, tuning::reference(&tuning)),
        subject: Machine::new(&image, tuning.clone()),
    };
    let told = |what: &str, report: String| {
        let name = kind.name;
        format!("CLADE_LOCKSTEP_SEED={seed} ({name}{what}):\n{tuning:?}\n{report}")
    };
    pair::run(make, &strides).map_err(|report| told("", report))?;
    // The same again, with the translations of a machine that went part of the way, which are right for
    // what memory was then.
    let mut ancestor = make().subject;
    let way = random.below(strides.len() as u64 + 1) as usize;
    strides[..way]
        .iter()
        .for_each(|stride| ancestor.advance(stride.ns, stride.instructions));
    let Some(code_cache) = ancestor.code_cache() else {
        return Ok(());
    };
    let make = || Pair {
        reference: Machine::new(&image, tuning::reference(&tuning)),
        subject: Machine::inheriting(&image, tuning.clone(), code_cache.try_clone().ok()),
    };
    pair::run(make, &strides).map_err(|report| told(", inherited", report))
}

/// Strides of `length` instructions together, mostly long or mostly short.
fn strides(random: &mut Random, length: u64) -> Vec<Stride> {
    let longest = random.pick(&[1, 10, 50, 1000, 20_000]);
    let mut strides = Vec::new();
    let mut total = 0;
    while total < length {
        let instructions = match random.below(8) {
            0 => 1,
            1 => 1 + random.below(10),
            _ => 1 + random.below(longest),
        };
        // Short strides are slow.
        total += instructions + length / 4000;
        let ns = random.pick(&[0, 0, 100, 1000]);
        strides.push(Stride { ns, instructions });
    }
    strides
}

/// The comparison itself must see what differs, and where it begins.
#[test]
fn differences_are_found_and_told() {
    let image = |constant, data| {
        let mut code = Assembler::new(BASE);
        (0..20).for_each(|_| code.immediate(Op::Addi, 5, 5, 1));
        code.immediate(Op::Addi, 6, 5, constant);
        code.jump(0, BASE);
        code.double(data);
        code.bytes
    };
    let tuning = tuning::any(&mut Random::new(0));
    let strides = [15, 15, 15].map(|instructions| Stride {
        ns: 0,
        instructions,
    });
    let report = |found: Vec<u8>| {
        let make = || Pair {
            reference: Machine::new(&image(3, 0), tuning::reference(&tuning)),
            subject: Machine::new(&found, tuning.clone()),
        };
        pair::run(make, &strides)
    };
    assert_eq!(report(image(3, 0)), Ok(()));
    let registers = report(image(4, 0)).unwrap_err();
    assert!(registers.contains("x6 should be 0x17, and is 0x18"));
    assert!(registers.contains("After 1 strides, 6 of 15"));
    assert!(registers.contains("Machine: addi"), "{registers}");
    let memory = report(image(3, 0x55)).unwrap_err();
    assert!(memory.contains("should be 0x00, and is 0x55"), "{memory}");
}

/// What programs do not reach they do not test.
#[test]
fn wandering_programs_get_around() {
    const PROGRAMS: u64 = 20;
    const INTERRUPT: u64 = 1 << 63;
    let (mut traps, mut modes) = (BTreeSet::new(), BTreeSet::new());
    let mut places = 0;
    for seed in 0..PROGRAMS {
        let mut machine = Machine::new(&program::program(seed), tuning::stepped());
        let mut reached = BTreeSet::new();
        for step in 0..50_000 {
            machine.pass(if step % 64 == 0 { 100 } else { 0 });
            let hart = machine.hart();
            reached.insert(hart.pc);
            modes.insert(hart.mode);
            traps.extend([hart.csrs.mcause, hart.csrs.scause]);
            machine.step();
        }
        places += reached.len();
    }
    assert!(places > 3000 * PROGRAMS as usize, "{places} instructions");
    assert_eq!(modes.len(), 3);
    let exceptions = [2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 15];
    let interrupts = [INTERRUPT | 1, INTERRUPT | 5];
    for cause in exceptions.into_iter().chain(interrupts) {
        assert!(traps.contains(&cause), "no trap has cause {cause:#x}");
    }
}

/// A translator that does not translate has nothing to compare, and one whose code always fits
/// never gives any up.
#[test]
fn wandering_programs_are_translated() {
    if Tier::best() != Tier::Translator {
        say("SKIPPED: this host has no translator");
        return;
    }
    let tuning = Tuning {
        tier: Tier::Translator,
        hot_after: 0,
        code_bytes: 1 << 20,
        exact_polls: true,
        ..Tuning::default()
    };
    let (mut evictions, mut executed, mut interpreted) = (0, 0, 0);
    for seed in 0..20 {
        let mut machine = Machine::new(&program::program(seed), tuning.clone());
        machine.advance(0, 50_000);
        let stats = machine.stats();
        evictions += stats.evictions;
        executed += machine.hart().retired;
        interpreted += stats.interpreted;
    }
    assert!(evictions > 0);
    assert!(interpreted < executed / 2, "{interpreted} of {executed}");
}
