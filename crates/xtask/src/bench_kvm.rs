//! The benchmarks against QEMU's use of KVM, in a machine that has KVM.

use std::path::Path;
use std::process::Command;

use crate::machine::{self, Machine};
use crate::system::{System, Work};
use crate::{Options, programs, quoted};

/// QEMU, and what it has a PC boot with; `qemu-img` makes disks for it.
const QEMU: [&str; 6] = [
    "/usr/bin/qemu-system-x86_64",
    "/usr/bin/qemu-img",
    "/usr/share/seabios/bios-256k.bin",
    "/usr/share/qemu/linuxboot_dma.bin",
    "/usr/share/qemu/kvmvapic.bin",
    "/usr/bin/iperf3",
];
const BENCH: &str = "clade-bench";
/// What it fetched before, beside it: nothing can be fetched in the machine.
const CACHE: &str = "bench-kvm-cache";
/// Two guests with their disks find room.
const MEMORY: u32 = 8192;
const SECONDS: u64 = 3600;

/// Runs `clade-bench` with these arguments in the machine.
pub(crate) fn run(mut options: Options) -> Result<u8, String> {
    if let Some(reason) = machine::missing() {
        return Err(reason);
    }
    let usual = Machine::default();
    if options.machine.memory == usual.memory {
        options.machine.memory = MEMORY;
    }
    if options.machine.seconds == usual.seconds {
        options.machine.seconds = SECONDS;
    }
    add(&mut options.system)?;
    let command = format!("{BENCH} {}", quoted(&options.rest));
    let boot = options.system.assemble(&Work::Script(command))?;
    options.machine.run(&boot, |line| println!("{line}"))
}

/// Adds both peers, and what their guests are made of.
fn add(system: &mut System) -> Result<(), String> {
    system.add_clade()?;
    let built = programs::build(&["build", "-p", BENCH, "--bin", BENCH])?;
    let [(_, bench)] = built.as_slice() else {
        return Err(format!("cargo built no {BENCH}"));
    };
    system.add(bench, &format!("usr/bin/{BENCH}"))?;
    for path in QEMU.map(Path::new) {
        system.add(path, path.to_string_lossy().trim_start_matches('/'))?;
    }
    let cache = bench.with_file_name(CACHE);
    let fetched = Command::new(bench)
        .args(["fetch", "--kvm"])
        .env("XDG_CACHE_HOME", &cache)
        .status();
    match fetched {
        Ok(status) if status.success() => system.add(&cache, "cache"),
        Ok(_) => Err(format!(
            "{BENCH} could not fetch what its guests are made of"
        )),
        Err(error) => Err(format!("{} cannot be run: {error}", bench.display())),
    }
}
