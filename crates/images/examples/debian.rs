//! Builds the image `debian` with QEMU as the machine that configures it, to tell faults of the image
//! from faults of Clade's machines. `debian [amd64] [PACKAGE...]`; prints the finished image.

use std::io::Read;
use std::process::{Command, Stdio};

use clade_images::{Architecture, DebianRequest, FirstBoot, Progress, RunMachine, ensure_debian};

struct Qemu;

impl RunMachine for Qemu {
    fn run(&self, machine: &FirstBoot, console: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        let disk = format!(
            "file={},format=raw,if=none,id=d,discard=unmap",
            machine.disk.display()
        );
        let (program, board) = match machine.architecture {
            Architecture::Riscv64 => ("qemu-system-riscv64", "virt"),
            Architecture::Amd64 => ("qemu-system-x86_64", "q35"),
        };
        let mut qemu = Command::new(program)
            .args([
                "-M",
                board,
                "-m",
                "1G",
                "-display",
                "none",
                "-no-reboot",
                "-serial",
                "stdio",
            ])
            .arg("-kernel")
            .arg(&machine.kernel)
            .arg("-initrd")
            .arg(&machine.initrd)
            .arg("-append")
            .arg(machine.cmdline.replace("console=hvc0", "console=ttyS0"))
            .args(["-drive", &disk, "-device", "virtio-blk-pci,drive=d"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("QEMU does not start: {error}"))?;
        let mut output = qemu.stdout.take().ok_or("QEMU has no output")?;
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut buffer) {
            console(&buffer[..count]);
            print!("{}", String::from_utf8_lossy(&buffer[..count]));
        }
        match qemu.wait() {
            Ok(status) if status.success() => Ok(()),
            other => Err(format!("QEMU ended with {other:?}")),
        }
    }
}

struct Lines;

impl Progress for Lines {
    fn begin(&self, label: &str, total: u64) {
        eprintln!("{label} ({total})");
    }
    fn advance(&self, _count: u64) {}
    fn finish(&self) {}
    fn message(&self, text: &str) {
        eprintln!("{text}");
    }
}

fn main() {
    let mut words = std::env::args().skip(1).peekable();
    let architecture = match words.next_if_eq(Architecture::Amd64.name()) {
        Some(_) => Architecture::Amd64,
        None => Architecture::Riscv64,
    };
    let request = DebianRequest {
        name: "debian".to_owned(),
        architecture,
        include: words.collect(),
        ..DebianRequest::default()
    };
    match ensure_debian(&request, &Qemu, &Lines) {
        Ok(image) => println!("{image:#?}"),
        Err(error) => eprintln!("{error}"),
    }
}
