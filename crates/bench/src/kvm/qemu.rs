//! The same guest under QEMU.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use super::engine::phases;
use super::rom::PHASES;

/// Ends QEMU, whatever happens.
pub(super) struct Ended(pub(super) Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the image once under `program`. Returns the time from the start of the process to the guest's
/// first report, and of each phase.
pub(super) fn run(program: &str, image: &[u8]) -> Result<(Duration, Vec<Duration>), String> {
    let told = |error: std::io::Error| format!("{program}: {error}");
    let mut rom = NamedTempFile::new().map_err(told)?;
    rom.write_all(image).map_err(told)?;
    let began = Instant::now();
    let child = Command::new(program)
        .args([
            "-accel", "kvm", "-cpu", "host", "-machine", "q35", "-m", "64",
        ])
        .args(["-nodefaults", "-display", "none", "-debugcon", "stdio"])
        .arg("-bios")
        .arg(rom.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(told)?;
    let mut qemu = Ended(child);
    let mut output = qemu.0.stdout.take().ok_or("no output")?;
    let mut times = Vec::new();
    let mut letter = [0];
    while times
        .last()
        .is_none_or(|(last, _)| *last != PHASES[PHASES.len() - 1].0)
    {
        match output.read(&mut letter).map_err(told)? {
            0 => return Err(format!("{program} ended early")),
            _ => times.push((letter[0], Instant::now())),
        }
    }
    phases(began, &times)
}
