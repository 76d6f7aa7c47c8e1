//! The same guest under QEMU's TCG.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread;

use crate::guest::Guest;
use crate::terminal::Transcript;

const PROGRAM: &str = "qemu-system-riscv64";

/// The peer's version, or why it cannot be asked.
pub(crate) fn version() -> Result<String, String> {
    let output = Command::new(PROGRAM)
        .arg("--version")
        .output()
        .map_err(|error| {
            format!(
                "{PROGRAM} cannot be run ({error}): install Debian's package qemu-system-misc or \
                 your distribution's QEMU for RISC-V"
            )
        })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().next().unwrap_or_default();
    Ok(line.trim_start_matches("QEMU emulator version ").to_owned())
}

struct QemuGuest {
    child: Child,
    stdin: ChildStdin,
    transcript: Arc<Transcript>,
}

/// Starts a machine.
pub(crate) fn start(
    kernel: &Path,
    initrd: &Path,
    cmdline: &str,
    cpus: u32,
) -> Result<Box<dyn Guest>, String> {
    let failed = |error: std::io::Error| format!("{PROGRAM}: {error}");
    let mut child = Command::new(PROGRAM)
        .args([
            "-machine",
            "virt",
            "-accel",
            "tcg,thread=multi",
            "-nodefaults",
            "-nographic",
        ])
        .args([
            "-smp",
            &cpus.to_string(),
            "-m",
            &format!("{}M", crate::boot::MEMORY >> 20),
        ])
        .args(["-chardev", "stdio,id=console,signal=off"])
        .args([
            "-device",
            "virtio-serial-pci",
            "-device",
            "virtconsole,chardev=console",
        ])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initrd)
        .args(["-append", cmdline])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(failed)?;
    let (Some(stdin), Some(mut stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(format!("{PROGRAM} was started without pipes"));
    };
    let transcript = Arc::new(Transcript::default());
    let sink = transcript.clone();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stdout.read(&mut buffer) {
            sink.push(&buffer[..count]);
        }
    });
    Ok(Box::new(QemuGuest {
        child,
        stdin,
        transcript,
    }))
}

impl Guest for QemuGuest {
    fn type_text(&mut self, text: &str) -> Result<(), String> {
        self.stdin
            .write_all(text.as_bytes())
            .and_then(|()| self.stdin.flush())
            .map_err(|error| format!("{PROGRAM} does not take what is typed: {error}"))
    }

    fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    fn stop(self: Box<Self>) {}
}

impl Drop for QemuGuest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
