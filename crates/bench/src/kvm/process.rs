//! What the process of a machine takes, as users have it: by the command.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use super::qemu::Ended;
use super::rom::{BEGINNING, hello};
use crate::board::Board;
use crate::boot::{self, until_prompt};
use crate::branch::command::Clade;
use crate::guest::{Boot, Devices};
use crate::memory::beside_guest;
use crate::peer::Peer;

/// Guest memory of the machines whose processes are looked at, in MiB.
const MEMORY: u64 = 256;

/// From `clade run` to what its guest's first instructions print, on the terminal.
pub(super) fn start() -> Result<Duration, String> {
    let told = |error: std::io::Error| format!("clade run: {error}");
    let mut kernel = NamedTempFile::new().map_err(told)?;
    kernel.write_all(&hello()).map_err(told)?;
    let began = Instant::now();
    let child = Command::new(crate::clade::command()?)
        .args(["run", "--rm", "-m", "64M"])
        .args(Board::Kvm.options())
        .arg("--kernel")
        .arg(kernel.path())
        .env("CLADE_COLD", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(told)?;
    let mut clade = Ended(child);
    let mut letter = [0];
    let output = clade.0.stdout.as_mut().ok_or("no output")?;
    output.read_exact(&mut letter).map_err(told)?;
    let time = began.elapsed();
    match letter == [BEGINNING] {
        true => Ok(time),
        false => Err(format!("the guest printed {letter:?}")),
    }
}

/// Memory that a machine's process has written to beside its guest's, in MiB: of `clade run -d mini`, when
/// the guest has booted.
pub(super) fn memory_of_clade() -> Result<f64, String> {
    let clade = Clade::find(Board::Kvm)?;
    let name = format!("bench-{}", std::process::id());
    clade.start(&name, &["mini"], &format!("{MEMORY}M"))?;
    beside_guest(&[clade.process(&name)?], MEMORY << 20)
}

/// The same of QEMU, with a network card as the other has.
pub(super) fn memory_of_qemu(program: &str) -> Result<f64, String> {
    let image = boot::mini(Board::Kvm)?;
    let boot = Boot {
        board: Board::Kvm,
        kernel: &image.kernel,
        initrd: &image.initrd,
        cmdline: &image.cmdline,
        cpus: 1,
        memory: MEMORY << 20,
        devices: Devices {
            network: true,
            ..Devices::default()
        },
    };
    let (guest, _time) = until_prompt(Peer::Qemu, program, &boot)?;
    beside_guest(&guest.processes(), MEMORY << 20)
}
