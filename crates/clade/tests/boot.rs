//! The whole way: the `clade` command boots Debian's own kernel to a shell.
//!
//! The packages come from this host's Debian mirror and stay in the user's cache. Without them and
//! without a network these tests cannot run; they say so, and pass.

mod common;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use clade_images::Architecture;
use common::images::{alone, architecture, clade, is_emulated, mini, opensbi};

/// A boot takes seconds; on a host that builds other things too, more.
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs `clade` with `input`, and returns its exit status, standard output and standard error.
fn run(arguments: &[&str], input: &str) -> (Option<i32>, String, String) {
    let mut child = clade(arguments).spawn().expect("clade starts");
    let mut stdin = child.stdin.take().expect("piped");
    stdin
        .write_all(input.as_bytes())
        .expect("clade takes its input");
    drop(stdin);
    let stdout = collect(child.stdout.take().expect("piped"));
    let stderr = collect(child.stderr.take().expect("piped"));
    let code = wait(&mut child);
    (
        code,
        stdout.join().expect("reader"),
        stderr.join().expect("reader"),
    )
}

fn collect(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child) -> Option<i32> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            return status.code();
        }
        if started.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("clade did not end within {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// What a guest prints, read as it comes.
struct Output {
    chunks: Receiver<Vec<u8>>,
    seen: String,
}

impl Output {
    fn of(mut stdout: ChildStdout) -> Self {
        let (sender, chunks) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            chunks,
            seen: String::new(),
        }
    }

    /// Waits until `text` has come, and forgets what came up to then.
    fn expect(&mut self, text: &str) {
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            match self.chunks.recv_timeout(PATIENCE) {
                Ok(chunk) => self.seen.push_str(&String::from_utf8_lossy(&chunk)),
                Err(error) => panic!("{error} before {text:?} came; there was {:?}", self.seen),
            }
        }
    }
}

#[test]
fn mini_boots_with_one_two_and_four_harts() {
    let _alone = alone();
    let Some(image) = mini("mini_boots_with_one_two_and_four_harts") else {
        return;
    };
    for harts in [1, 2, 4] {
        let cpus = harts.to_string();
        let (code, stdout, stderr) =
            run(&["run", "--cpus", &cpus], "uname -a; nproc; poweroff -f\n");
        let lines: Vec<&str> = stdout.lines().collect();
        let [uname, nproc] = lines[..] else {
            panic!("two lines were to come, and nothing else: {stdout:?}; {stderr}")
        };
        assert!(uname.starts_with("Linux "), "{uname}");
        let processor = match architecture() {
            Architecture::Riscv64 => "riscv64",
            Architecture::Amd64 => "x86_64",
        };
        assert!(
            uname.contains("Debian") && uname.contains(processor),
            "{uname}"
        );
        assert!(
            uname.contains(&image.kernel_version),
            "{uname} is {}?",
            image.kernel_version
        );
        assert_eq!(nproc, cpus);
        assert_eq!(code, Some(0), "{stderr}");
    }
}

#[test]
fn the_shell_answers_what_is_typed_and_computes_as_this_host_does() {
    let _alone = alone();
    let name = "the_shell_answers_what_is_typed_and_computes_as_this_host_does";
    if mini(name).is_none() {
        return;
    }
    let mut child = clade(&["run", "--cpus", "2"])
        .spawn()
        .expect("clade starts");
    let mut stdin = child.stdin.take().expect("piped");
    let mut output = Output::of(child.stdout.take().expect("piped"));
    // One at a time: each answer comes before the next question is asked.
    stdin.write_all(b"echo $((6 * 7))\n").expect("input");
    output.expect("42\n");
    // Real programs: integers, shifts and memory in sha256sum; doubles and their printing in awk.
    stdin
        .write_all(b"seq 1 30000 | sha256sum\n")
        .expect("input");
    let mut numbers = String::new();
    for number in 1..=30000 {
        let _ = writeln!(numbers, "{number}");
    }
    let expected = clade_store::Sha256::of(numbers.as_bytes()).to_string();
    output.expect(&expected);
    stdin
        .write_all(
            b"awk 'BEGIN { for (i = 1; i < 2000; i++) s += 1 / i; printf \"%.17g\\n\", s }'\n",
        )
        .expect("input");
    let sum: f64 = (1..2000).fold(0.0, |sum, i| sum + 1.0 / f64::from(i));
    output.expect(&format!("{sum:.15}")[..16]);
    // Many processes, on both harts, that all come to an end.
    stdin
        .write_all(b"for i in $(seq 20); do (echo $i | grep -c . &) ; done | wc -l\n")
        .expect("input");
    output.expect("20\n");
    // The end of the input ends the shell, and the shell the machine.
    drop(stdin);
    assert_eq!(wait(&mut child), Some(0));
}

/// Its guest has nothing of ours but an init that does as systemd-logind does.
#[test]
fn mini_is_stopped_by_its_power_button_and_starts_again() {
    let _alone = alone();
    let test = "mini_is_stopped_by_its_power_button_and_starts_again";
    if mini(test).is_none() {
        return;
    }
    let home = tempfile::tempdir().expect("folder");
    let here = |arguments: &[&str]| {
        let mut command = clade(arguments);
        let output = command
            .env("XDG_DATA_HOME", home.path().join("data"))
            .env("XDG_RUNTIME_DIR", home.path())
            .output()
            .expect("clade");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    here(&["run", "-d", "--name", "one"]);
    let folder = home.path().join("data/clade/machines/one");
    for file in ["kernel", "initrd"] {
        assert!(folder.join(file).exists(), "it has its own {file}");
    }
    for life in 1..=2 {
        let started = Instant::now();
        while here(&["logs", "one"]).matches("Leave with").count() < life {
            assert!(started.elapsed() < PATIENCE, "life {life} does not begin");
            thread::sleep(Duration::from_millis(100));
        }
        here(&["stop", "one", "--timeout", "60"]);
        let log = here(&["logs", "one"]);
        assert_eq!(
            log.matches("the power button was pressed").count(),
            life,
            "{log}"
        );
        let inspected: serde_json::Value =
            serde_json::from_str(&here(&["inspect", "one"])).expect("JSON");
        assert_eq!(inspected[0]["outcome"], "power_off");
        here(&["start", "one"]);
    }
    // One that is only about to boot hears the button as soon as it can.
    here(&["stop", "one", "--timeout", "60"]);
    assert_eq!(
        here(&["logs", "one"])
            .matches("the power button was pressed")
            .count(),
        3
    );
    here(&["rm", "one"]);
    assert!(!folder.exists());
}

#[test]
fn opensbi_boots_the_same_kernel() {
    let _alone = alone();
    let test = "opensbi_boots_the_same_kernel";
    if !is_emulated(test) {
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let (Some(_), Some(firmware)) = (mini(test), opensbi(test, folder.path())) else {
        return;
    };
    let (code, stdout, stderr) = run(
        &["run", "--firmware", &firmware, "--cpus", "2"],
        "nproc; grep -c ^processor /proc/cpuinfo; poweroff -f\n",
    );
    assert!(stdout.contains("OpenSBI"), "{stdout}");
    assert!(stdout.ends_with("\n2\n2\n"), "{stdout}; {stderr}");
    assert_eq!(code, Some(0), "{stderr}");
}

#[test]
fn a_kernel_panic_is_told() {
    let _alone = alone();
    let Some(image) = mini("a_kernel_panic_is_told") else {
        return;
    };
    let kernel = text(&image.kernel);
    // No initramfs and no disk: the kernel has nothing to start.
    let (code, stdout, stderr) = run(
        &[
            "run",
            "--kernel",
            kernel,
            "--cmdline",
            "console=hvc0 panic=-1",
        ],
        "",
    );
    assert_eq!(code, Some(1), "{stdout}; {stderr}");
    assert!(stdout.contains("Kernel panic - not syncing"), "{stdout}");
    assert!(stderr.contains("panic"), "{stderr}");
}

#[test]
fn a_truncated_kernel_is_refused() {
    let _alone = alone();
    let Some(image) = mini("a_truncated_kernel_is_refused") else {
        return;
    };
    let whole = std::fs::read(&image.kernel).expect("the kernel is in the cache");
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("kernel");
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("file");
    let (code, _, stderr) = run(&["run", "--kernel", text(&path)], "");
    assert_eq!(code, Some(125), "{stderr}");
    assert!(stderr.contains(text(&path)), "{stderr}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("plain path")
}
