//! What the tests of the `clade` command share: a home of their own, and guests made by hand.

// Each test program uses a part of it.
#![allow(dead_code)]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) mod gate;
pub(crate) mod guest;
pub(crate) mod images;
pub(crate) mod in_process;
pub(crate) mod machine;
pub(crate) mod oci_image;
pub(crate) mod pty;
pub(crate) mod registry;
pub(crate) mod shell;

/// Longer than anything takes here, on a busy host too.
pub(crate) fn long() -> Duration {
    seconds(60)
}

/// How much slower this host is than others, as `CLADE_TEST_PATIENCE` says.
fn patience() -> u32 {
    let factor = std::env::var("CLADE_TEST_PATIENCE").ok();
    factor.map_or(1, |text| text.parse().expect("a factor"))
}

/// So many seconds, and more of them on a slow host.
pub(crate) fn seconds(number: u64) -> Duration {
    Duration::from_secs(number) * patience()
}

/// How many of these a test has: fewer on a slow host, which is said.
pub(crate) fn amount(test: &str, number: u32, what: &str) -> u32 {
    let fewer = (number / patience()).max(1);
    if fewer < number {
        images::say(&format!("BRIEF {test}: {fewer} of {number} {what}"));
    }
    fewer
}

/// The same as an argument, for `--timeout`.
pub(crate) fn timeout(number: u64) -> String {
    seconds(number).as_secs().to_string()
}

/// Folders of a user who never ran Clade, and knows no mirror.
pub(crate) struct Home {
    folder: TempDir,
}

/// What a command left behind.
#[derive(Debug, Clone)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        for name in ["run", "cache", "config", "data"] {
            fs::create_dir(folder.path().join(name)).expect("folder");
        }
        Self { folder }
    }

    /// The same with what this user has fetched already: images come from there.
    pub(crate) fn with_cache() -> Self {
        let home = Self::new();
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
        if let Some(cache) = cache.map(|cache| cache.join("clade")) {
            fs::create_dir_all(&cache).expect("cache");
            std::os::unix::fs::symlink(cache, home.path("cache/clade")).expect("link");
        }
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file and returns its path as an argument.
    pub(crate) fn file(&self, name: &str, contents: &[u8]) -> String {
        let path = self.path(name);
        fs::write(&path, contents).expect("file");
        path.to_str().expect("plain path").to_owned()
    }

    /// A bare-metal guest as a kernel file.
    pub(crate) fn guest(&self, guest: &guest::Guest) -> String {
        self.file("guest.elf", &guest.elf())
    }

    /// A command of this user, whose machines boot: a test that wants warm images says so.
    pub(crate) fn clade(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clade"));
        command
            .args(arguments)
            .env_clear()
            .env("CLADE_ENGINE", engine())
            .env("CLADE_COLD", "1")
            .env("HOME", self.folder.path())
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_DATA_HOME", self.path("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs `clade` to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        finish(self.clade(arguments).spawn().expect("clade"))
    }

    /// The names of the folders of machines.
    pub(crate) fn machines(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.path("data/clade/machines")) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.expect("entry").file_name());
        let names = names.map(|name| name.into_string().expect("plain name"));
        names.filter(|name| !name.starts_with('.')).collect()
    }

    /// Waits until no machine is left.
    pub(crate) fn wait_for_no_machines(&self) {
        wait_until("no machine is left", || self.machines().is_empty());
    }
}

/// The engine of the tests' machines, whatever this host has.
pub(crate) fn engine() -> String {
    std::env::var("CLADE_ENGINE").unwrap_or_else(|_| "emulate".to_owned())
}

impl Drop for Home {
    fn drop(&mut self) {
        // A failing test leaves no machine behind.
        for name in self.machines() {
            let _ = self.clade(&["rm", "-f", &name]).output();
        }
    }
}

impl Finished {
    pub(crate) fn stdout(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text")
    }
}

/// Waits for a command and everything that it says.
pub(crate) fn finish(child: Child) -> Finished {
    finish_within(child, long())
}

/// The same, for one that may take longer.
pub(crate) fn finish_within(mut child: Child, patience: Duration) -> Finished {
    drop(child.stdin.take());
    let stdout = read_in_background(child.stdout.take());
    let stderr = read_in_background(child.stderr.take());
    let status = wait_within(&mut child, patience);
    let stderr = String::from_utf8(stderr.join().expect("reader")).expect("text");
    Finished {
        code: status.code(),
        stdout: stdout.join().expect("reader"),
        stderr,
    }
}

fn read_in_background(stream: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            stream.read_to_end(&mut bytes).expect("read");
        }
        bytes
    })
}

/// Waits for a process, but not for ever.
pub(crate) fn wait(child: &mut Child) -> ExitStatus {
    wait_within(child, long())
}

fn wait_within(child: &mut Child, patience: Duration) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            return status;
        }
        if start.elapsed() > patience {
            child.kill().expect("kill");
            panic!("clade did not end");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Ends a thread that looks at it, also when a test fails.
pub(crate) struct SetAtEnd<'a>(pub(crate) &'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < long(), "it never came that {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Reads until `text` has come.
pub(crate) fn read_until(stream: &mut impl Read, text: &str) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let so_far = String::from_utf8_lossy(&bytes);
        if so_far.contains(text) {
            return so_far.into_owned();
        }
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => bytes.extend(&buffer[..count]),
            other => panic!("{other:?} before {text:?} came; there was {so_far:?}"),
        }
    }
}

/// Whether a process of this number is alive (a zombie is not).
pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    stat.is_ok_and(|stat| {
        !stat
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .trim()
            .starts_with('Z')
    })
}
