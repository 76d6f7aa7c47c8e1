//! Builds the image `debian` with QEMU as the machine that configures it, to tell faults of the image
//! from faults of Clade's machines. Prints the finished image.

use std::io::Read;
use std::process::{Command, Stdio};

use clade_images::{DebianRequest, FirstBoot, Progress, RunMachine, ensure_debian};

struct Qemu;

impl RunMachine for Qemu {
    fn run(&self, machine: &FirstBoot, console: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        let disk = format!(
            "file={},format=raw,if=none,id=d,discard=unmap",
            machine.disk.display()
        );
        let mut qemu = Command::new("qemu-system-riscv64")
            .args([
                "-M",
                "virt",
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
    let request = DebianRequest {
        name: "debian".to_owned(),
        include: std::env::args().skip(1).collect(),
        ..DebianRequest::default()
    };
    match ensure_debian(&request, &Qemu, &Lines) {
        Ok(image) => println!("{image:#?}"),
        Err(error) => eprintln!("{error}"),
    }
}
