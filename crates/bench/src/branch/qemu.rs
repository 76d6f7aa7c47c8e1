//! QEMU with the same guest, kept and brought back in both of its ways.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::console::Console;
use super::system::System;
use crate::terminal::Transcript;

/// Until a machine is there, or is kept, at the longest.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often it is asked whether it is.
const ASK: Duration = Duration::from_millis(1);

/// A machine, its console, and the monitor by which it is told what to do; dropped, it ends.
pub(super) struct Qemu {
    child: Child,
    monitor: BufReader<UnixStream>,
    console: Console,
}

/// What a machine wrote to go on from.
pub(super) struct Migrated {
    /// Until it went on itself.
    pub(super) time: Duration,
    /// How long the guest stood still, by QEMU's own account.
    pub(super) pause: Duration,
    /// Its memory and devices.
    pub(super) file: PathBuf,
    /// Its disk as it was then.
    disk: PathBuf,
}

impl Qemu {
    /// Boots the guest until its console waits for a command.
    pub(super) fn boot(program: &str, system: &System, folder: &Path) -> Result<Self, String> {
        let disk = system.overlay(folder, "boot.qcow2")?;
        let mut command = command(program, system, &disk);
        let qemu = Self::spawn(&mut command, folder, "boot")?;
        let prompt = qemu.console.screen.wait_for(0, system.prompt(), PATIENCE);
        prompt.ok_or("the guest shows no prompt")?;
        Ok(qemu)
    }

    /// Starts a machine from a migration file; returns how long it took until the guest ran.
    pub(super) fn from_file(
        program: &str,
        system: &System,
        folder: &Path,
        from: &Migrated,
    ) -> Result<(Self, Duration), String> {
        let disk = folder.join("incoming.qcow2");
        create_disk(&disk, Some(("qcow2", &from.disk)))?;
        let mut command = command(program, system, &disk);
        command.arg("-incoming");
        command.arg(format!("exec:cat {}", from.file.display()));
        let started = Instant::now();
        let mut qemu = Self::spawn(&mut command, folder, "incoming")?;
        qemu.wait_until("query-status", "running")?;
        Ok((qemu, started.elapsed()))
    }

    /// Types a command on the guest's console; returns how long it took until that was done.
    pub(super) fn shell(&mut self, script: &str) -> Result<Duration, String> {
        self.console.shell(script, PATIENCE)
    }

    fn spawn(command: &mut Command, folder: &Path, name: &str) -> Result<Self, String> {
        let socket = folder.join(format!("{name}.qmp"));
        let _ = std::fs::remove_file(&socket);
        let monitor = format!("unix:{},server=on,wait=off", socket.display());
        let mut child = command
            .args(["-qmp", &monitor])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("QEMU cannot be started: {error}"))?;
        let keyboard = child.stdin.take().ok_or("QEMU has no input")?;
        let screen = child.stdout.take().ok_or("QEMU has no output")?;
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
            console: Console {
                keyboard,
                screen: Transcript::of(screen),
            },
        };
        qemu.line()?;
        qemu.tell("qmp_capabilities", json!({}))?;
        Ok(qemu)
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

    /// Has the machine keep itself in a file of this folder and go on.
    pub(super) fn migrate(&mut self, folder: &Path) -> Result<Migrated, String> {
        let (file, disk) = (folder.join("migration"), folder.join("migrated.qcow2"));
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
        let written = started.elapsed();
        // What the memory belongs to; its price is not counted.
        std::fs::copy(folder.join("boot.qcow2"), &disk)
            .map_err(|error| format!("{}: {error}", disk.display()))?;
        let stopped = Instant::now();
        self.tell("cont", json!({}))?;
        Ok(Migrated {
            time: written + stopped.elapsed(),
            pause: Duration::from_millis(done["downtime"].as_u64().unwrap_or(0)),
            file,
            disk,
        })
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

fn command(program: &str, system: &System, disk: &Path) -> Command {
    let drive = format!("if=none,id=disk,format=qcow2,file={}", disk.display());
    let mut command = Command::new(program);
    command
        .args(system.board.qemu_options())
        .args(["-m", &format!("{}M", system.memory)])
        .args(["-nodefaults", "-nographic", "-kernel"])
        .arg(&system.kernel)
        .arg("-initrd")
        .arg(&system.initrd)
        .args(["-append", &system.cmdline])
        .args(["-drive", &drive])
        .args(["-device", "virtio-blk-pci,drive=disk"])
        .args(["-netdev", "user,id=network"])
        .args(["-device", "virtio-net-pci,netdev=network,romfile="])
        .args(["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"])
        .args(["-chardev", "stdio,id=console,signal=off"])
        .args(["-device", "virtconsole,chardev=console"]);
    command
}

/// A disk that has nothing of its own yet, above one of this format if there is any, for `qemu-img`.
pub(super) fn create_disk(path: &Path, below: Option<(&str, &Path)>) -> Result<(), String> {
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2"]);
    if let Some((format, below)) = below {
        command.args(["-F", format, "-b"]).arg(below);
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
