//! Real programs from Debian's packages, and small ones of our own: Clade, QEMU and this host.

mod catalog;
mod data;
mod report;
mod root;
mod runner;
mod system;

use std::collections::BTreeMap;
use std::time::Duration;

use catalog::{ALL, Native, Workload};
use report::Report;
use runner::Runner;

use crate::board::Board;
use crate::boot;
use crate::guest::{Boot, Devices};
use crate::initrd::Initrd;
use crate::peer::Peer;
use crate::{Options, qemu};

/// Memory of a guest that holds all the packages, in bytes.
const MEMORY: u64 = 3 << 30;

/// The row for booting the image `mini`.
const BOOT: &str = "boot";

/// Measures and prints the table; an error tells of failures and differences.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let names: Vec<&str> = [BOOT]
        .into_iter()
        .chain(ALL.iter().map(|workload| workload.name))
        .collect();
    if let Some(odd) = options
        .only
        .iter()
        .find(|name| !names.contains(&name.as_str()))
    {
        return Err(format!("{odd:?} is no workload: {}", names.join(", ")));
    }
    let image = boot::mini(Board::Emulated)?;
    let mut session = Session {
        options,
        initrd: system::guest()?,
        report: Report::new(options, &image)?,
        image,
        runners: BTreeMap::new(),
        outputs: BTreeMap::new(),
        skipped: Vec::new(),
    };
    for round in 1..=options.rounds {
        session.round(round);
    }
    session.report.print();
    if let Some(path) = &options.json {
        session.report.write_json(path, &session.outputs)?;
    }
    session.report.verdict()
}

/// What each workload printed first, and under whom.
type Outputs = BTreeMap<&'static str, (Peer, String)>;

/// A run of the benchmark.
struct Session<'a> {
    options: &'a Options,
    image: clade_images::Image,
    initrd: Initrd,
    report: Report,
    /// Those that are started, and well.
    runners: BTreeMap<Peer, Runner>,
    outputs: Outputs,
    /// Peers that this host has not.
    skipped: Vec<Peer>,
}

impl Session<'_> {
    /// Runs each workload under each peer in turn: what is compared is measured within a minute.
    fn round(&mut self, round: u32) {
        let options = self.options;
        eprintln!("round {round} of {}", options.rounds);
        if options.wants(BOOT) {
            for &peer in self
                .options
                .peers
                .iter()
                .filter(|&&peer| peer != Peer::Native)
            {
                match self.boot(peer) {
                    Ok(time) => self.report.add(BOOT, peer, time),
                    Err(reason) => self.report.fail(BOOT, peer, &reason),
                }
            }
        }
        for workload in ALL.iter().filter(|workload| options.wants(workload.name)) {
            for &peer in &options.peers {
                if peer == Peer::Native && workload.native == Native::No {
                    continue;
                }
                if !self.skipped.contains(&peer) {
                    self.measure(workload, peer);
                }
            }
        }
        // The next round has guests of its own.
        self.runners.clear();
    }

    /// How long the image `mini` takes to its prompt.
    fn boot(&self, peer: Peer) -> Result<Duration, String> {
        let boot = Boot {
            board: Board::Emulated,
            kernel: &self.image.kernel,
            initrd: &self.image.initrd,
            cmdline: &self.image.cmdline,
            cpus: self.options.cpus,
            memory: boot::MEMORY,
            devices: Devices::default(),
        };
        boot::until_prompt(peer, self.options.qemu(), &boot).map(|(_guest, time)| time)
    }

    fn measure(&mut self, workload: &Workload, peer: Peer) {
        let mut runner = match self.runners.remove(&peer) {
            Some(runner) => runner,
            None => match self.start(peer) {
                Ok(runner) => runner,
                Err(reason) if peer == Peer::Native => {
                    eprintln!("SKIPPED: native: {reason}");
                    return self.skipped.push(peer);
                }
                Err(reason) => return self.report.fail(workload.name, peer, &reason),
            },
        };
        // A guest that fails in the middle is not used again.
        match runner.run(workload.name, self.options.cpus) {
            Err(reason) => self.report.fail(workload.name, peer, &reason),
            Ok(outcome) => {
                self.runners.insert(peer, runner);
                if outcome.good {
                    self.report.add(workload.name, peer, outcome.time);
                    self.compare(workload, peer, outcome.output);
                } else {
                    self.report.fail(workload.name, peer, &outcome.output);
                }
            }
        }
    }

    fn start(&self, peer: Peer) -> Result<Runner, String> {
        if peer == Peer::Native {
            return Runner::native();
        }
        let boot = Boot {
            board: Board::Emulated,
            kernel: &self.image.kernel,
            initrd: self.initrd.path(),
            cmdline: &self.image.cmdline,
            cpus: self.options.cpus,
            memory: MEMORY,
            devices: Devices::default(),
        };
        let (guest, _time) = boot::until_prompt(peer, self.options.qemu(), &boot)?;
        Ok(Runner::Guest(guest))
    }

    /// Every peer must print the same in every round.
    fn compare(&mut self, workload: &Workload, peer: Peer, output: String) {
        if peer == Peer::Native && workload.native == Native::Differs {
            return;
        }
        match self.outputs.get(workload.name) {
            None => {
                self.outputs.insert(workload.name, (peer, output));
            }
            Some((first, expected)) if *expected != output => {
                let reason = format!(
                    "printed\n{output}where {} printed\n{expected}",
                    first.title()
                );
                self.report.fail(workload.name, peer, &reason);
            }
            Some(_) => {}
        }
    }
}

/// The version of the peer QEMU, if it takes part.
fn qemu_version(options: &Options) -> Result<Option<String>, String> {
    match options.peers.contains(&Peer::Qemu) {
        true => qemu::version(options.qemu()).map(Some),
        false => Ok(None),
    }
}
