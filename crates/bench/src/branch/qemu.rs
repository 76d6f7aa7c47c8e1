//! QEMU with the same guest, kept and brought back in both of its ways.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::system::System;
use crate::boot::PROMPT;
use crate::io::free_port;
use crate::terminal::Transcript;

/// Until a machine is there, or is kept, at the longest.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often it is asked whether it is.
const ASK: Duration = Duration::from_millis(1);

/// A machine, and the monitor by which it is told what to do; dropped, it ends.
pub(super) struct Qemu {
    child: Child,
    monitor: BufReader<UnixStream>,
}

impl Qemu {
    /// Boots the guest until it can be worked with.
    pub(super) fn boot(program: &str, system: &System, folder: &Path) -> Result<Self, String> {
        let disk = system.overlay(folder, "boot.qcow2")?;
        let port = free_port().map_err(|error| error.to_string())?;
        let mut command = command(program, system, &disk, port);
        let mut qemu = Self::spawn(&mut command, folder, "boot")?;
        let screen = qemu.screen()?;
        match system.image {
            "mini" => screen
                .wait_for(0, PROMPT, PATIENCE)
                .map(drop)
                .ok_or("the guest shows no prompt")?,
            _ => greeted(port)?,
        }
        Ok(qemu)
    }

    /// Starts a machine from a migration file; returns how long it took until the guest ran.
    pub(super) fn from_file(
        program: &str,
        system: &System,
        folder: &Path,
        file: &Path,
    ) -> Result<(Self, Duration), String> {
        let disk = system.overlay(folder, "incoming.qcow2")?;
        let port = free_port().map_err(|error| error.to_string())?;
        let mut command = command(program, system, &disk, port);
        command.arg("-incoming");
        command.arg(format!("exec:cat {}", file.display()));
        let started = Instant::now();
        let mut qemu = Self::spawn(&mut command, folder, "incoming")?;
        qemu.wait_until("query-status", "running")?;
        Ok((qemu, started.elapsed()))
    }

    fn spawn(command: &mut Command, folder: &Path, name: &str) -> Result<Self, String> {
        let socket = folder.join(format!("{name}.qmp"));
        let _ = std::fs::remove_file(&socket);
        let monitor = format!("unix:{},server=on,wait=off", socket.display());
        let mut child = command
            .args(["-qmp", &monitor])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("QEMU cannot be started: {error}"))?;
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(_)
                    if Instant::now() < deadline && child.try_wait().is_ok_and(|e| e.is_none()) =>
                {
                    thread::sleep(ASK);
                }
                Err(error) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(format!("QEMU does not answer: {error}"));
                }
            }
        };
        let mut qemu = Self {
            child,
            monitor: BufReader::new(stream),
        };
        qemu.line()?;
        qemu.tell("qmp_capabilities", json!({}))?;
        Ok(qemu)
    }

    /// What the guest prints from now on.
    fn screen(&mut self) -> Result<Arc<Transcript>, String> {
        let stdout = self.child.stdout.take().ok_or("QEMU has no output")?;
        Ok(Transcript::of(stdout))
    }

    /// Has the machine keep itself in its disk; the guest stands still meanwhile.
    pub(super) fn savevm(&mut self) -> Result<Duration, String> {
        self.human("savevm bench")
    }

    /// Goes back to that.
    pub(super) fn loadvm(&mut self) -> Result<Duration, String> {
        self.human("loadvm bench")
    }

    pub(super) fn delvm(&mut self) -> Result<Duration, String> {
        self.human("delvm bench")
    }

    /// Has the machine keep itself in a file and go on; returns how long that took, and how long the
    /// guest stood still by QEMU's own account.
    pub(super) fn migrate(&mut self, file: &Path) -> Result<(Duration, Duration), String> {
        let started = Instant::now();
        // As fast as it can be written.
        self.tell(
            "migrate-set-parameters",
            json!({ "max-bandwidth": 1u64 << 40 }),
        )?;
        self.tell(
            "migrate",
            json!({ "uri": format!("exec:cat > {}", file.display()) }),
        )?;
        let done = self.wait_until("query-migrate", "completed")?;
        self.tell("cont", json!({}))?;
        let pause = done["downtime"].as_u64().unwrap_or(0);
        Ok((started.elapsed(), Duration::from_millis(pause)))
    }

    pub(super) fn process(&self) -> u32 {
        self.child.id()
    }

    fn human(&mut self, line: &str) -> Result<Duration, String> {
        let started = Instant::now();
        let said = self.tell("human-monitor-command", json!({ "command-line": line }))?;
        match said.as_str() {
            Some("") | None => Ok(started.elapsed()),
            Some(error) => Err(format!("QEMU: {line}: {error}")),
        }
    }

    fn wait_until(&mut self, question: &str, status: &str) -> Result<Value, String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.tell(question, json!({}))?;
            match answer["status"].as_str() {
                Some(is) if is == status => return Ok(answer),
                Some("failed" | "cancelled") => return Err(format!("QEMU: {answer}")),
                _ if Instant::now() > deadline => return Err(format!("QEMU: still {answer}")),
                _ => thread::sleep(ASK),
            }
        }
    }

    fn tell(&mut self, command: &str, arguments: Value) -> Result<Value, String> {
        let order = json!({ "execute": command, "arguments": arguments });
        writeln!(self.monitor.get_mut(), "{order}").map_err(|error| format!("QEMU: {error}"))?;
        loop {
            let mut line = self.line()?;
            if let Some(error) = line.get("error") {
                return Err(format!("QEMU: {command}: {error}"));
            }
            // What is neither is an event.
            if let Some(answer) = line.get_mut("return") {
                return Ok(answer.take());
            }
        }
    }

    fn line(&mut self) -> Result<Value, String> {
        let mut text = String::new();
        let read = self.monitor.read_line(&mut text);
        read.map_err(|error| format!("QEMU: {error}"))?;
        serde_json::from_str(&text).map_err(|error| format!("QEMU said {text:?}: {error}"))
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(program: &str, system: &System, disk: &Path, port: u16) -> Command {
    let drive = format!("if=none,id=disk,format=qcow2,file={}", disk.display());
    let network = format!("user,id=network,hostfwd=tcp:127.0.0.1:{port}-:22");
    let mut command = Command::new(program);
    command
        .args(["-machine", "virt", "-accel", "tcg,thread=multi"])
        .args(["-m", &format!("{}M", system.memory)])
        .args(["-nodefaults", "-nographic", "-kernel"])
        .arg(&system.kernel)
        .arg("-initrd")
        .arg(&system.initrd)
        .args(["-append", &system.cmdline])
        .args(["-drive", &drive])
        .args(["-device", "virtio-blk-pci,drive=disk"])
        .args(["-netdev", &network])
        .args(["-device", "virtio-net-pci,netdev=network"])
        .args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"])
        .args(["-chardev", "stdio,id=console,signal=off"])
        .args(["-device", "virtconsole,chardev=console"]);
    command
}

/// Waits until the guest's SSH server introduces itself.
fn greeted(port: u16) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
            let mut greeting = [0; 4];
            let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
            if stream.read_exact(&mut greeting).is_ok() {
                return Ok(());
            }
        }
        thread::sleep(Duration::from_millis(50));
    }
    Err(format!("no SSH server answered within {PATIENCE:?}"))
}

/// A disk that has nothing of its own yet, for `qemu-img`.
pub(super) fn create_disk(path: &Path, below: Option<&PathBuf>) -> Result<(), String> {
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2"]);
    if let Some(below) = below {
        command.args(["-F", "raw", "-b"]).arg(below);
    }
    command.arg(path);
    if below.is_none() {
        command.arg("64M");
    }
    let status = command.status();
    match status
        .map_err(|error| format!("qemu-img: {error}"))?
        .success()
    {
        true => Ok(()),
        false => Err(format!("qemu-img cannot make {}", path.display())),
    }
}
