//! QEMU, and what comes out of it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The program that emulates a processor with SVM.
const QEMU: &str = "qemu-system-x86_64";
/// Without CX16, as QEMU 7.2 computes the flags of cmpxchg16b wrongly, on which the kernel's allocator relies.
const CMDLINE: &str = "console=ttyS0 panic=-1 mitigations=off clearcpuid=cx16";
/// How many lines of the kernel's messages are shown when a machine ends without a word.
const SHOWN_LINES: usize = 30;

/// A machine whose processors have SVM.
pub(crate) struct Machine {
    /// One is safe: QEMU 7.2 executes torn instructions where a processor changes the code of another, and
    /// Linux does so whenever KVM's machines come and go.
    pub(crate) cpus: u32,
    /// MiB.
    pub(crate) memory: u32,
    /// How long it may run, or a test in it.
    pub(crate) seconds: u64,
    /// Whether it reaches what this host reaches.
    pub(crate) network: bool,
    /// A file with the file system that is its `/disk`, where it keeps its user's data.
    pub(crate) disk: Option<PathBuf>,
    /// Where the messages of its kernel go.
    pub(crate) log: Option<PathBuf>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            cpus: 1,
            memory: 4096,
            seconds: 600,
            network: false,
            disk: None,
            log: None,
        }
    }
}

/// What it boots, as files.
pub(crate) struct BootFiles {
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    /// Keeps them until they are not needed any more.
    pub(crate) folder: tempfile::TempDir,
}

/// Why there can be no machine here, if so.
pub(crate) fn missing() -> Option<String> {
    let output = Command::new(QEMU).arg("--version").output();
    output.err().map(|error| {
        format!("{QEMU} cannot be run ({error}); it is in Debian's package qemu-system-x86")
    })
}

impl Machine {
    /// Boots, hands over what the work prints, line by line, and gives its exit status.
    pub(crate) fn run(&self, boot: &BootFiles, mut line: impl FnMut(&str)) -> Result<u8, String> {
        let log = self.log_path(boot);
        let mut command = self.command(boot, &log);
        command
            .args(["-serial", "stdio"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut qemu = Running(command.spawn().map_err(|error| started(&error))?);
        let lines = lines_of(&mut qemu.0)?;
        let patience = Duration::from_secs(self.seconds);
        let mut end = Instant::now() + patience;
        loop {
            match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(text) => match text.strip_prefix("@@ exit ") {
                    Some(status) => return status_of(status),
                    None => {
                        // What comes next may take as long again.
                        if text.starts_with("@@ ") {
                            end = Instant::now() + patience;
                        }
                        line(&text);
                    }
                },
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    return Err(format!(
                        "the machine was not done after {} seconds{}",
                        self.seconds,
                        last_words(&log)
                    ));
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(format!("the machine ended too early{}", last_words(&log)));
                }
            }
        }
    }

    /// Boots with its shell on this terminal.
    pub(crate) fn interact(&self, boot: &BootFiles) -> Result<(), String> {
        let mut command = self.command(boot, &self.log_path(boot));
        command.args(["-serial", "mon:stdio"]);
        eprintln!("leave with: exit; or by ctrl-a x");
        let mut qemu = Running(command.spawn().map_err(|error| started(&error))?);
        qemu.0.wait().map_err(|error| error.to_string())?;
        Ok(())
    }

    fn log_path(&self, boot: &BootFiles) -> PathBuf {
        let given = self.log.clone();
        given.unwrap_or_else(|| boot.folder.path().join("log"))
    }

    /// All but the second serial port, on which the work is.
    fn command(&self, boot: &BootFiles, log: &Path) -> Command {
        let mut command = Command::new(QEMU);
        command
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            .args(["-display", "none", "-machine", "q35"])
            .args(["-accel", "tcg"])
            .args(["-cpu", "EPYC,+svm,+npt"])
            .args(["-smp", &self.cpus.to_string()])
            .args(["-m", &format!("{}M", self.memory)])
            .arg("-kernel")
            .arg(&boot.kernel)
            .arg("-initrd")
            .arg(&boot.initrd)
            .args(["-append", CMDLINE])
            .arg("-serial")
            .arg(format!("file:{}", log.display()))
            .stderr(Stdio::null());
        if self.network {
            // Not 10.0.2.0/24, which is what Clade's guests have.
            command.args(["-nic", "user,model=virtio-net-pci,net=10.0.3.0/24"]);
        }
        if let Some(disk) = &self.disk {
            let file = disk.display();
            let drive = format!("file={file},format=raw,if=virtio,discard=unmap,cache=unsafe");
            command.args(["-drive", &drive]);
        }
        command
    }
}

/// A process that does not outlive whoever waits for it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn started(error: &std::io::Error) -> String {
    format!("{QEMU} cannot be started: {error}")
}

fn lines_of(child: &mut Child) -> Result<mpsc::Receiver<String>, String> {
    let output = child.stdout.take().ok_or("QEMU has no output")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            if sender.send(line.trim_end_matches('\r').to_owned()).is_err() {
                break;
            }
        }
    });
    Ok(lines)
}

fn status_of(text: &str) -> Result<u8, String> {
    let status = text.trim().parse();
    status.map_err(|_| format!("the machine ended with the odd status {text:?}"))
}

fn last_words(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    let shown = &lines[lines.len().saturating_sub(SHOWN_LINES)..];
    format!("; its kernel's last words:\n{}", shown.join("\n"))
}
