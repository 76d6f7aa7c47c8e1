//! The guest that both run.

use std::path::{Path, PathBuf};

use clade_images::{DebianRequest, FirstBoot, RunMachine, Silent};

use super::qemu::create_disk;
use crate::board::Board;
use crate::boot::{self, PROMPT};

/// What both machines boot.
pub(super) struct System {
    pub(super) board: Board,
    /// As `clade run` knows it.
    pub(super) image: &'static str,
    /// The name with the suite, for the table.
    pub(super) title: String,
    pub(super) kernel: PathBuf,
    pub(super) initrd: PathBuf,
    pub(super) cmdline: String,
    /// Raw, and never written.
    disk: Option<PathBuf>,
    /// MiB.
    pub(super) memory: u32,
    /// What makes the guest warm, for its shell: some 20 MiB that are used.
    pub(super) warm: &'static str,
    /// The same for people.
    pub(super) warmth: &'static str,
}

/// As a service: what a connection left behind would end with it.
const PYTHON: &str = "systemd-run --quiet python3 -c '\
                      d = {n: \"warm %d \" % n * 4 for n in range(120000)}; \
                      import time; open(\"/run/warm\", \"w\"); time.sleep(1e6)'; \
                      until test -e /run/warm; do sleep 0.1; done";

/// busybox has no program that keeps so much: a file in memory is the next best.
const FILE: &str = "dd if=/dev/urandom of=/dev/shm/warm bs=1M count=20 2>/dev/null";

/// The package that Debian needs for it.
const INCLUDE: &str = "python3";

/// The benchmark makes no image.
struct Refuse;

impl RunMachine for Refuse {
    fn run(&self, _: &FirstBoot, _: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        Err("the benchmark starts only what is there".into())
    }
}

impl System {
    /// Debian with Python if there is an image of it, else `mini`.
    pub(super) fn find(quick: bool, board: Board) -> Result<Self, String> {
        let images = clade_images::list().map_err(|error| error.to_string())?;
        let there = |image: &clade_images::ImageSummary| {
            image.cached
                && image.name.starts_with("debian:")
                && image.name.split('+').any(|one| one == INCLUDE)
        };
        let small = quick || board == Board::Kvm;
        if !small && images.iter().any(there) {
            return Self::debian();
        }
        let why = match small {
            true => "it is what --quick takes, and --kvm",
            false => "there is no Debian yet (`clade pull debian --include python3` makes it)",
        };
        eprintln!("the guest is `mini`: {why}");
        let image = boot::mini(board)?;
        Ok(Self {
            board,
            image: "mini",
            title: image.name.to_string(),
            kernel: image.kernel,
            initrd: image.initrd,
            cmdline: image.cmdline,
            disk: None,
            memory: 512,
            warm: FILE,
            warmth: "a file of 20 MiB in memory",
        })
    }

    fn debian() -> Result<Self, String> {
        let request = DebianRequest {
            name: "debian".into(),
            include: vec![INCLUDE.into()],
            ..Default::default()
        };
        let image = clade_images::ensure_debian(&request, &Refuse, &Silent)
            .map_err(|error| error.to_string())?;
        eprintln!("the guest is `debian` with Python");
        Ok(Self {
            board: Board::Emulated,
            image: "debian",
            title: image.name.to_string(),
            kernel: image.kernel,
            initrd: image.initrd,
            cmdline: image.cmdline,
            disk: Some(image.disk),
            memory: 512,
            warm: PYTHON,
            warmth: "a Python process with some 20 MiB",
        })
    }

    /// What `clade run` is told of the image.
    pub(super) fn image(&self) -> Vec<&'static str> {
        match self.disk {
            Some(_) => vec!["--include", INCLUDE, self.image],
            None => vec![self.image],
        }
    }

    /// The end of what the shell on the console prints before it waits for a command.
    pub(super) fn prompt(&self) -> &'static str {
        match self.disk {
            Some(_) => "~# ",
            None => PROMPT,
        }
    }

    /// An empty layer above the disk, or an empty disk, which is all that QEMU needs to keep states in.
    pub(super) fn overlay(&self, folder: &Path, name: &str) -> Result<PathBuf, String> {
        let path = folder.join(name);
        let below = self.disk.as_deref().map(|disk| ("raw", disk));
        create_disk(&path, below)?;
        Ok(path)
    }
}
