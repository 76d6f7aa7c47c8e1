//! Boot to the first prompt, then loops: Clade and QEMU in turn.

use std::time::{Duration, Instant};

use crate::board::Board;
use crate::guest::{Boot, Devices, Guest, expect, run_command};
use crate::initrd::Initrd;
use crate::peer::Peer;
use crate::program::{self, Program};
use crate::{Options, qemu};

/// Guest memory in bytes.
pub(crate) const MEMORY: u64 = 1 << 30;

/// Where the shell of `mini` waits for a command.
pub(crate) const PROMPT: &str = "# ";

/// One thing that is measured, by the command that does it in the guest.
struct Workload {
    name: &'static str,
    command: String,
    /// How many instructions it executes, where that is known.
    instructions: Option<u64>,
}

/// The times of one peer: boot first, then the workloads in their order.
type Times = Vec<Duration>;

/// Measures and prints the table.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let version = qemu::version(options.qemu())?;
    let board = Board::Emulated;
    let image = mini(board)?;
    let programs = [
        program::integer(3000),
        program::float(600),
        program::nothing(),
    ];
    let initrd = Initrd::behind(&image.initrd, |archive| {
        program::install(archive, &programs)
    })?;
    let workloads = workloads(&programs);

    let mut best: [Option<Times>; 2] = [None, None];
    for round in 1..=options.rounds {
        for (peer, best) in [Peer::Clade, Peer::Qemu].into_iter().zip(&mut best) {
            eprintln!("round {round} of {}: {}", options.rounds, peer.title());
            let boot = Boot {
                board,
                kernel: &image.kernel,
                initrd: initrd.path(),
                cmdline: &image.cmdline,
                cpus: options.cpus,
                memory: MEMORY,
                devices: Devices::default(),
            };
            let times = measure(|| peer.start(options.qemu(), &boot), &workloads)?;
            match best {
                Some(best) => {
                    best.iter_mut()
                        .zip(times)
                        .for_each(|(best, time)| *best = time.min(*best));
                }
                None => *best = Some(times),
            }
        }
    }
    if let [Some(clade), Some(qemu)] = best {
        println!(
            "{}, Debian {}, {} hart(s), best of {}; QEMU {version}, TCG\n",
            image.name, image.kernel_version, options.cpus, options.rounds
        );
        print_table(&workloads, &clade, &qemu);
    }
    Ok(())
}

/// Starts a guest and waits for its prompt; returns how long that took, too.
pub(crate) fn until_prompt(
    peer: Peer,
    qemu: &str,
    boot: &Boot<'_>,
) -> Result<(Box<dyn Guest>, Duration), String> {
    let started = Instant::now();
    let guest = peer.start(qemu, boot)?;
    expect(&*guest, 0, PROMPT)?;
    Ok((guest, started.elapsed()))
}

/// The image that the guests' kernel is from.
pub(crate) fn mini(board: Board) -> Result<clade_images::Image, String> {
    let request = clade_images::Request {
        name: "mini".into(),
        architecture: board.architecture(),
        ..Default::default()
    };
    clade_images::ensure(&request, &clade_images::Silent).map_err(|error| error.to_string())
}

fn workloads(programs: &[Program; 3]) -> Vec<Workload> {
    let [integer, float, nothing] = programs;
    let of = |name, program: &Program| Workload {
        name,
        command: program.name.into(),
        instructions: program.instructions,
    };
    let shell = |name, command: String| Workload {
        name,
        command,
        instructions: None,
    };
    vec![
        of("integer loop", integer),
        of("floating-point loop", float),
        shell(
            "200 fork + exec",
            format!(
                "i=0; while [ $i -lt 200 ]; do {}; i=$((i+1)); done",
                nothing.name
            ),
        ),
        shell(
            "shell loop",
            "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done".into(),
        ),
        shell(
            "gzip 4 MB",
            "dd if=/dev/zero bs=64k count=64 2>/dev/null | tr '\\0' 'c' | gzip | wc -c".into(),
        ),
    ]
}

/// Boots one guest and runs everything in it.
fn measure(
    start: impl Fn() -> Result<Box<dyn Guest>, String>,
    workloads: &[Workload],
) -> Result<Times, String> {
    let started = Instant::now();
    let mut guest = start()?;
    expect(&*guest, 0, PROMPT)?;
    let mut times = vec![started.elapsed()];
    for workload in workloads {
        times.push(run_command(&mut *guest, &workload.command)?.time);
    }
    Ok(times)
}

fn print_table(workloads: &[Workload], clade: &Times, qemu: &Times) {
    println!(
        "{:<22} {:>10} {:>10} {:>14}",
        "workload", "Clade", "QEMU", "QEMU / Clade"
    );
    let names = std::iter::once("boot to the prompt").chain(workloads.iter().map(|w| w.name));
    for ((name, clade), qemu) in names.zip(clade).zip(qemu) {
        let (clade, qemu) = (clade.as_secs_f64(), qemu.as_secs_f64());
        println!(
            "{name:<22} {clade:>8.2} s {qemu:>8.2} s {:>12.2} x",
            qemu / clade
        );
    }
    println!();
    for (workload, time) in workloads.iter().zip(&clade[1..]) {
        if let Some(instructions) = workload.instructions {
            let rate = instructions as f64 / time.as_secs_f64() / 1e6;
            println!(
                "{}: {rate:.0} million instructions/s under Clade",
                workload.name
            );
        }
    }
}
