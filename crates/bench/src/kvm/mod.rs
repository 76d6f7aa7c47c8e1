//! What exits cost: how many accesses of a guest's to ports and to memory-mapped registers are answered
//! in a second, by Clade's KVM engine and by QEMU's, the same guest in both.

mod engine;
mod process;
mod qemu;
mod rom;

use std::time::Duration;

use clade_kvm::{Device, examine_device};

use crate::Options;

/// How often a phase does what it does where KVM is slow, or there is little time.
const FEW: u32 = 2_000;
/// The slowest phase is to take about so long elsewhere.
const PHASE: Duration = Duration::from_millis(300);

/// The best of several rounds.
struct Best {
    start: Duration,
    phases: Vec<Duration>,
}

impl Best {
    fn none() -> Self {
        Self {
            start: Duration::MAX,
            phases: vec![Duration::MAX; rom::PHASES.len()],
        }
    }

    fn note(&mut self, start: Duration, phases: &[Duration]) {
        self.start = self.start.min(start);
        for (best, phase) in self.phases.iter_mut().zip(phases) {
            *best = (*best).min(*phase);
        }
    }
}

/// Runs the guest in turn under both, and prints the rates and their ratios.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let device = Device::open().map_err(|error| error.to_string())?;
    let verdict = examine_device(&device);
    println!("KVM here is {verdict}");
    let count = match options.quick {
        true => FEW,
        false => count_for(&engine::run(&device, &rom::image(FEW))?.phases),
    };
    let program = options.qemu();
    let image = rom::image(count);
    let (mut clade, mut qemu) = (Best::none(), Best::none());
    let (mut save, mut restore, mut start) = (Duration::MAX, Duration::MAX, Duration::MAX);
    let mut absent = None;
    for _ in 0..options.rounds {
        let run = engine::run(&device, &image)?;
        clade.note(run.start, &run.phases);
        save = save.min(run.save);
        restore = restore.min(run.restore);
        start = start.min(process::start()?);
        if absent.is_none() {
            match qemu::run(program, &image) {
                Ok((start, phases)) => qemu.note(start, &phases),
                Err(error) => absent = Some(error),
            }
        }
    }
    print(&clade, absent.is_none().then_some(&qemu), count);
    let memory = process::memory_of_clade()?;
    let theirs = match &absent {
        None => Some(process::memory_of_qemu(program)?),
        Some(error) => {
            println!("SKIPPED: QEMU: {error}");
            None
        }
    };
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    println!();
    line(
        "process start to guest, ms",
        milliseconds(start),
        theirs.map(|_| milliseconds(qemu.start)),
    );
    line("memory beside guest's, MiB", memory, theirs);
    println!();
    println!(
        "engine made to the guest's first exit   {:>9.2?}",
        clade.start
    );
    println!("one vCPU saved                          {save:>9.2?}");
    println!("another machine made, and it restored   {restore:>9.2?}");
    Ok(())
}

/// How often phases can do what took so long when it was done [`FEW`] times.
fn count_for(phases: &[Duration]) -> u32 {
    let slowest = phases.iter().max().copied().unwrap_or(PHASE);
    let times = PHASE.as_secs_f64() / slowest.as_secs_f64();
    (f64::from(FEW) * times.clamp(1.0, 1000.0)) as u32
}

fn print(clade: &Best, qemu: Option<&Best>, count: u32) {
    println!(
        "{:<26}{:>12}{:>12}{:>8}",
        "exits a second", "clade", "qemu", "ratio"
    );
    for (index, (_, what)) in rom::PHASES.iter().enumerate() {
        let rate = |best: &Best| f64::from(count) / best.phases[index].as_secs_f64();
        let ours = rate(clade);
        match qemu.map(rate) {
            Some(theirs) => {
                println!("{what:<26}{ours:>12.0}{theirs:>12.0}{:>8.2}", ours / theirs);
            }
            None => println!("{what:<26}{ours:>12.0}{:>12}{:>8}", "-", "-"),
        }
    }
}

/// Of two figures of which the smaller is better.
fn line(what: &str, ours: f64, theirs: Option<f64>) {
    match theirs {
        Some(theirs) => println!("{what:<26}{ours:>12.1}{theirs:>12.1}{:>8.2}", theirs / ours),
        None => println!("{what:<26}{ours:>12.1}{:>12}{:>8}", "-", "-"),
    }
}
