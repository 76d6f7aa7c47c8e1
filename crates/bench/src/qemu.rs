//! The same guest under QEMU.

use std::io::Write;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;

use crate::guest::{Boot, Devices, Guest, SHARE_TAG};
use crate::terminal::Transcript;
use crate::virtiofsd::Virtiofsd;

/// Its version, or why it cannot be asked.
pub(crate) fn version(program: &str) -> Result<String, String> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .map_err(|error| {
            format!(
                "{program} cannot be run ({error}): install Debian's package qemu-system-misc, \
                 for KVM qemu-system-x86, or your distribution's QEMU"
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
    share: Option<Share>,
}

/// How a guest gets to see a folder.
enum Share {
    Virtiofs(Virtiofsd),
    /// By QEMU itself.
    Plan9,
}

/// Starts a machine.
pub(crate) fn start(program: &str, boot: &Boot<'_>) -> Result<Box<dyn Guest>, String> {
    let mut command = Command::new(program);
    command
        .args(boot.board.qemu_options())
        .args(["-nodefaults", "-nographic"])
        .args(["-smp", &boot.cpus.to_string()])
        .args(["-m", &format!("{}M", boot.memory >> 20)])
        .args(["-chardev", "stdio,id=console,signal=off"])
        .args(["-device", "virtio-serial-pci"])
        .args(["-device", "virtconsole,chardev=console"])
        .arg("-kernel")
        .arg(boot.kernel)
        .arg("-initrd")
        .arg(boot.initrd)
        .args(["-append", boot.cmdline]);
    add_devices(&mut command, &boot.devices);
    let share = boot.devices.share;
    let share = share.map(|folder| add_share(&mut command, folder, boot.memory));
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(format!("{program} was started without pipes"));
    };
    Ok(Box::new(QemuGuest {
        child,
        stdin,
        transcript: Transcript::of(stdout),
        share,
    }))
}

/// QEMU's virtio devices, as its documentation recommends them for speed: the disk by io_uring and
/// on a thread of its own, through the host's page cache, as Clade does.
fn add_devices(command: &mut Command, devices: &Devices<'_>) {
    if let Some(disk) = devices.disk {
        let drive = format!(
            "if=none,id=disk,format=raw,cache=writeback,aio=io_uring,file={}",
            disk.display()
        );
        command
            .args(["-object", "iothread,id=disks"])
            .args(["-drive", &drive])
            .args(["-device", "virtio-blk-pci,drive=disk,iothread=disks"]);
    }
    if devices.network {
        command
            .args(["-netdev", "user,id=network"])
            .args(["-device", "virtio-net-pci,netdev=network,romfile="]);
    }
}

/// The same device as Clade's where its server can be run, which needs root; else QEMU's own.
fn add_share(command: &mut Command, folder: &Path, memory: u64) -> Share {
    match Virtiofsd::start(folder) {
        Ok(server) => {
            let memory = format!("memory-backend-memfd,id=memory,share=on,size={memory}");
            let socket = format!("socket,id=share,path={}", server.socket().display());
            let device = format!("vhost-user-fs-pci,chardev=share,tag={SHARE_TAG}");
            command
                .args(["-object", &memory])
                .args(["-machine", "memory-backend=memory"])
                .args(["-chardev", &socket])
                .args(["-device", &device]);
            Share::Virtiofs(server)
        }
        Err(error) => {
            eprintln!("virtiofsd cannot be run ({error}): QEMU shares its folder by 9p");
            let share = format!(
                "local,security_model=none,mount_tag={SHARE_TAG},path={}",
                folder.display()
            );
            command.args(["-virtfs", &share]);
            Share::Plan9
        }
    }
}

impl Guest for QemuGuest {
    fn type_text(&mut self, text: &str) -> Result<(), String> {
        self.stdin
            .write_all(text.as_bytes())
            .and_then(|()| self.stdin.flush())
            .map_err(|error| format!("QEMU does not take what is typed: {error}"))
    }

    fn transcript(&self) -> &Transcript {
        &self.transcript
    }

    fn share_type(&self) -> &'static str {
        match self.share {
            Some(Share::Plan9) => "9p -o trans=virtio,version=9p2000.L,msize=512000",
            Some(Share::Virtiofs(_)) | None => "virtiofs",
        }
    }

    fn processes(&self) -> Vec<u32> {
        let server = match &self.share {
            Some(Share::Virtiofs(server)) => server.processes(),
            Some(Share::Plan9) | None => Vec::new(),
        };
        [vec![self.child.id()], server].concat()
    }
}

impl Drop for QemuGuest {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
