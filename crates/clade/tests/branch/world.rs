//! Guests that check themselves, and what they say.
//!
//! Each is made from an OCI image: Linux with a writable ext4 file system on a qcow2 disk of the
//! machine's own, whose only process is `check` (see `guest/check.c`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use clade_images::Architecture;
use serde_json::{Value, json};

use crate::common::images::{architecture, skip};
use crate::common::oci_image::{self, Layer, image_of, write_layout};
use crate::common::{Finished, Home, finish, timeout};

/// The program whose source is beside it.
fn check() -> &'static [u8] {
    match architecture() {
        Architecture::Riscv64 => include_bytes!("guest/check-riscv64"),
        Architecture::Amd64 => include_bytes!("guest/check-amd64"),
    }
}

/// Programs of busybox that the tests' scripts use.
const PROGRAMS: &str =
    "sh cat cut dd date df echo head ls md5sum mkdir mv nc rm seq sleep sync yes";

/// Memory of each guest.
const MEMORY: &str = "192M";

/// A user with an image.
pub(crate) struct World {
    pub(crate) home: Home,
    image: String,
}

/// What a guest says of itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report(BTreeMap<String, u64>);

impl World {
    /// None, said aloud, where images cannot be had.
    pub(crate) fn new(test: &str) -> Option<Self> {
        Self::in_home(test, oci_image::home())
    }

    pub(crate) fn in_home(test: &str, home: Home) -> Option<Self> {
        let busybox = oci_image::busybox(test)?;
        let mut layer = Layer::new()
            .file("bin/busybox", 0o755, &busybox)
            .file("bin/check", 0o755, check())
            .file("data/empty", 0o644, b"")
            .file("run/empty", 0o644, b"");
        for name in PROGRAMS.split(' ') {
            layer = layer.link(&format!("bin/{name}"), "busybox");
        }
        let config = json!({"Entrypoint": ["/bin/check", "run"], "Env": ["PATH=/bin"]});
        let image = image_of(&[layer.bytes()], architecture(), &config);
        write_layout(&home.path("layout"), &image);
        let image = format!("oci:{}", home.path("layout").display());
        Some(Self { home, image })
    }

    /// Starts a machine, and waits until it answers.
    pub(crate) fn start(&self, name: &str, options: &[&str]) {
        let first = ["run", "-d", "-m", MEMORY, "--name", name];
        self.done(&[&first[..], options, &[&self.image]].concat());
        self.done(&["wait", name, "--for", "ready", "--timeout", &timeout(55)]);
    }

    /// Runs `clade` to an end that must be a good one.
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let finished = self.home.run(arguments);
        assert_eq!(finished.code, Some(0), "{arguments:?}: {finished:?}");
        finished.stdout().to_owned()
    }

    /// Runs `clade` to an end that must be a bad one; returns what it says.
    pub(crate) fn refused(&self, arguments: &[&str]) -> String {
        let finished = self.home.run(arguments);
        assert_eq!(finished.code, Some(125), "{arguments:?}: {finished:?}");
        finished.stderr
    }

    /// A script in a guest.
    pub(crate) fn shell(&self, name: &str, script: &str) -> String {
        self.done(&["exec", name, "--", "sh", "-c", script])
    }

    /// What the guest's own checks have come to: nothing wrong.
    pub(crate) fn report(&self, name: &str) -> Report {
        let report = Report::of(&self.shell(name, "check report"));
        assert_eq!(report.figure("error"), 0, "{name}: {report:?}");
        report
    }

    pub(crate) fn inspect(&self, name: &str) -> Value {
        let told: Value =
            serde_json::from_str(&self.done(&["inspect", "--json", name])).expect("JSON");
        told.get(0).unwrap_or(&told).clone()
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.home.path("data/clade/machines").join(name)
    }

    /// The folders of the snapshots; no passing ones.
    pub(crate) fn snapshots(&self) -> Vec<PathBuf> {
        let names = files(&self.home.path("data/clade/snapshots"));
        let lasting = |path: &PathBuf| !name_of(path).starts_with('.');
        names.into_iter().filter(lasting).collect()
    }

    /// The same, the oldest first.
    pub(crate) fn snapshots_by_age(&self) -> Vec<PathBuf> {
        let mut folders = self.snapshots();
        folders.sort_by_key(|folder| {
            fs::metadata(folder.join("snapshot.json"))
                .and_then(|meta| meta.modified())
                .ok()
        });
        folders
    }

    /// Clears away what dead processes left, as every use of the snapshots does; returns what is left
    /// all the same.
    pub(crate) fn passing(&self) -> Vec<PathBuf> {
        self.refused(&["clone", "no-such@snapshot"]);
        let names = files(&self.home.path("data/clade/snapshots"));
        let passing = |path: &PathBuf| name_of(path).starts_with('.');
        names.into_iter().filter(passing).collect()
    }

    /// The top of a snapshot's disk.
    pub(crate) fn disk_of(&self, snapshot: &Path) -> PathBuf {
        let manifest = fs::read(snapshot.join("snapshot.json")).expect("a manifest");
        let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
        let disk = &manifest["content"]["details"]["config"]["config"]["disks"][0]["path"];
        snapshot.join(disk.as_str().expect("a path"))
    }

    /// Checks the chain of a disk, and the file system on it as it would be after a power cut.
    pub(crate) fn check_disk(&self, disk: &Path) {
        let checked = tool("qemu-img", &["check", "--output=json", &text(disk)]);
        let Some(checked) = checked else { return };
        let told: Value = serde_json::from_slice(&checked.stdout).expect("a report");
        // Clusters may be leaked by a power cut, none may be damaged.
        assert_eq!(told["check-errors"], 0, "{told}");
        assert!(
            told.get("corruptions").is_none_or(|count| count == 0),
            "{told}"
        );
        let raw = self.home.path("disk.raw");
        let convert = ["convert", "-U", "-O", "raw", &text(disk), &text(&raw)];
        assert_eq!(tool("qemu-img", &convert).expect("as before").code, Some(0));
        let replay = ["-fy", "-E", "journal_only", &text(&raw)];
        let Some(replayed) = tool("/sbin/e2fsck", &replay) else {
            return;
        };
        // 1: "file system errors corrected", the journal's.
        assert!(matches!(replayed.code, Some(0 | 1)), "{replayed:?}");
        let checked = tool("/sbin/e2fsck", &["-fn", &text(&raw)]).expect("as before");
        let told = String::from_utf8_lossy(&checked.stdout);
        assert_eq!(checked.code, Some(0), "{}: {told}", disk.display());
        fs::remove_file(raw).expect("file");
    }
}

impl Report {
    pub(crate) fn of(text: &str) -> Self {
        let figure = |line: &str| {
            let (name, value) = line.split_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(text.lines().filter_map(figure).collect())
    }

    pub(crate) fn figure(&self, name: &str) -> u64 {
        *self
            .0
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// Whether nothing is behind what it was.
    pub(crate) fn is_behind(&self, earlier: &Report) -> bool {
        earlier
            .0
            .iter()
            .any(|(name, value)| self.0.get(name) < Some(value))
    }
}

/// A program of the host's; none, said aloud, where it is missing.
fn tool(program: &str, arguments: &[&str]) -> Option<Finished> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(std::process::Stdio::null());
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    match command.spawn() {
        Ok(child) => Some(finish(child)),
        Err(error) => {
            skip("the check of a disk", format!("no {program}: {error}"));
            None
        }
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("plain path").to_owned()
}

pub(crate) fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// What is in a folder, in order; nothing if there is no folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut files: Vec<_> = entries.map(|entry| entry.expect("entry").path()).collect();
    files.sort();
    files
}

/// Chance that can be had again: its seed is printed, and may be given.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(test: &str) -> Self {
        let given = number("CLADE_BRANCH_SEED");
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        let seed = given.unwrap_or(now.subsec_nanos().into()) | 1;
        eprintln!("{test}: CLADE_BRANCH_SEED={seed}");
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % count
    }
}

/// A number in the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect(name))
}
