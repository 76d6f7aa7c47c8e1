//! Benchmarks against a real peer on the same machine in the same run.
//!
//! `cargo run --release -p clade-bench -- boot` boots the image `mini` under Clade and under
//! `qemu-system-riscv64` (TCG) in turn, runs the same work in both, and prints the times and their
//! ratios. `workloads` does so with real programs from Debian's packages, and compares with this
//! host, too. Machines are noisy: the ratio counts, and each figure is the best of several rounds.

mod assembler;
mod board;
mod boot;
mod branch;
mod clade;
mod guest;
mod initrd;
mod io;
mod kernels;
#[cfg(target_arch = "x86_64")]
mod kvm;
mod memory;
mod peer;
mod program;
mod qemu;
mod speed;
mod terminal;
mod virtiofsd;
mod workloads;

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use board::Board;
use peer::Peer;

const USAGE: &str = "usage: clade-bench boot [--rounds N] [--cpus N] [--qemu PROGRAM]
       clade-bench workloads [--rounds N] [--cpus N] [--qemu PROGRAM] [--only NAME,...]
                             [--peer clade|interpreter|plic|qemu|native,...] [--json FILE]
       clade-bench io [--rounds N] [--cpus N] [--qemu PROGRAM] [--only NAME,...] [--quick]
                      [--peer clade|interpreter|plic|qemu,...] [--kvm]
       clade-bench branch [--rounds N] [--qemu PROGRAM] [--only ROW,...] [--quick] [--kvm]
       clade-bench fetch [--kvm]
       clade-bench kvm [--rounds N] [--qemu PROGRAM] [--quick]
       clade-bench speed [int|mem|fp] [interpreter|translator]

  boot        boot `mini` and run small loops, under Clade and under QEMU in turn
  workloads   run programs from Debian's packages, under each peer in turn
  io          disk, network and shared folder, under two peers in turn
  fetch       fetch what the guests of io are made of, for a host without a network
  branch      snapshots, clones, suspending and resuming, against QEMU's two ways of keeping a machine
  kvm         what exits and starting cost on KVM, against QEMU's own use of it
  speed       run a loop in the bare engine

  --rounds N       how often each is measured; the best counts (default 3)
  --cpus N         harts of the guests (default 1); as many copies of each workload run at once
  --kvm            x86-64 guests on KVM under both, in place of RISC-V's, emulated
  --qemu PROGRAM   the QEMU to run (default qemu-system-riscv64; with KVM qemu-system-x86_64)
  --only NAME,...  these workloads alone; `disk` is all of io that begin so
  --quick          little of everything, once: whether it works, and roughly how fast
  --peer PEER,...  these peers alone (default clade,qemu)
  --json FILE      write the times of all rounds there";

/// What the command line asked for.
pub(crate) struct Options {
    /// How often each is measured.
    pub(crate) rounds: u32,
    /// Harts of the guests, and how many copies of each workload run at once.
    pub(crate) cpus: u32,
    /// What the guests run on.
    pub(crate) board: Board,
    /// The program that is QEMU, if another than usual.
    pub(crate) qemu: Option<String>,
    /// The workloads to run; all if empty.
    pub(crate) only: Vec<String>,
    pub(crate) peers: Vec<Peer>,
    /// Little of everything, once.
    pub(crate) quick: bool,
    /// Where the raw figures go.
    pub(crate) json: Option<PathBuf>,
}

impl Options {
    /// The program that is QEMU.
    pub(crate) fn qemu(&self) -> &str {
        self.qemu.as_deref().unwrap_or(self.board.qemu())
    }

    /// Whether a workload is to be run.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rounds: 3,
            cpus: 1,
            board: Board::default(),
            qemu: None,
            only: Vec::new(),
            peers: vec![Peer::Clade, Peer::Qemu],
            quick: false,
            json: None,
        }
    }
}

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("clade-bench: {message}");
            ExitCode::from(125)
        }
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result<(), String> {
    let verb = arguments.next().ok_or(USAGE)?;
    match verb.as_str() {
        "boot" => boot::run(&emulated(arguments)?),
        "workloads" => workloads::run(&emulated(arguments)?),
        "io" => io::run(&parse(arguments)?),
        "fetch" => io::fetch(&parse(arguments)?),
        "branch" => branch::run(&parse(arguments)?),
        #[cfg(target_arch = "x86_64")]
        "kvm" => kvm::run(&Options {
            board: Board::Kvm,
            ..parse(arguments)?
        }),
        #[cfg(not(target_arch = "x86_64"))]
        "kvm" => Err("Clade's KVM engine is for x86-64 hosts".into()),
        "speed" => speed::run(arguments),
        _ => Err(USAGE.into()),
    }
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(name) = arguments.next() {
        match name.as_str() {
            "--quick" => {
                options.quick = true;
                options.rounds = 1;
                continue;
            }
            "--kvm" => {
                options.board = Board::Kvm;
                continue;
            }
            _ => {}
        }
        let value = arguments.next().ok_or(USAGE)?;
        match name.as_str() {
            "--rounds" => options.rounds = count(&value)?,
            "--cpus" => options.cpus = count(&value)?,
            "--qemu" => options.qemu = Some(value),
            "--only" => options.only = list(&value)?,
            "--peer" => options.peers = list(&value)?,
            "--json" => options.json = Some(value.into()),
            _ => return Err(USAGE.into()),
        }
    }
    Ok(options)
}

/// The options of what knows RISC-V's guests alone.
fn emulated(arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let options = parse(arguments)?;
    match options.board {
        Board::Emulated => Ok(options),
        Board::Kvm => Err(USAGE.into()),
    }
}

fn count(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("{text:?} is no count")),
    }
}

fn list<T: FromStr<Err: ToString>>(text: &str) -> Result<Vec<T>, String> {
    let parsed: Result<Vec<T>, T::Err> = text.split(',').map(str::parse).collect();
    parsed.map_err(|error| error.to_string())
}
