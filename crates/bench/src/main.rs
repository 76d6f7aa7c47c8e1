//! Benchmarks against a real peer on the same machine in the same run.
//!
//! `cargo run --release -p clade-bench -- boot` boots the image `mini` under Clade and under
//! `qemu-system-riscv64` (TCG) in turn, runs the same work in both, and prints the times and their
//! ratios. Machines are noisy: the ratio counts, and each figure is the best of several rounds.

mod boot;
mod clade;
mod guest;
mod program;
mod qemu;
mod terminal;

use std::process::ExitCode;

const USAGE: &str = "usage: clade-bench boot [--rounds N] [--cpus N]

  boot   boot `mini` and run small loops, under Clade and under QEMU in turn

  --rounds N   how often each is measured; the best counts (default 3)
  --cpus N     harts of the guests (default 1)";

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)).and_then(|options| boot::run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("clade-bench: {message}");
            ExitCode::from(125)
        }
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<boot::Options, String> {
    if arguments.next().as_deref() != Some("boot") {
        return Err(USAGE.into());
    }
    let mut options = boot::Options { rounds: 3, cpus: 1 };
    while let Some(name) = arguments.next() {
        let value = arguments
            .next()
            .and_then(|text| text.parse().ok())
            .filter(|&n| n > 0);
        match (name.as_str(), value) {
            ("--rounds", Some(n)) => options.rounds = n,
            ("--cpus", Some(n)) => options.cpus = n,
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}
