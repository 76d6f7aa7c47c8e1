//! The guest that both run.

use std::path::{Path, PathBuf};

use clade_images::{DebianRequest, FirstBoot, RunMachine, Silent};

use super::qemu::create_disk;
use crate::boot;

/// What both machines boot.
pub(super) struct System {
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
    /// What makes the guest warm, for its shell: a process with some 20 MiB.
    pub(super) warm: &'static str,
}

/// What Debian has in every installation.
const PERL: &str = "setsid perl -e '$d{$_} = \"warm $_\" x 4 for 1 .. 120000; sleep 1000000' \
                    </dev/null >/dev/null 2>&1 & sleep 3";

/// busybox has no program that keeps so much: a file in memory is the next best.
const FILE: &str = "dd if=/dev/urandom of=/dev/shm/warm bs=1M count=20 2>/dev/null";

/// The benchmark makes no image.
struct Refuse;

impl RunMachine for Refuse {
    fn run(&self, _: &FirstBoot, _: &mut dyn FnMut(&[u8])) -> Result<(), String> {
        Err("the benchmark starts only what is there".into())
    }
}

impl System {
    /// Debian if there is an image of it, else `mini`.
    pub(super) fn find(quick: bool) -> Result<Self, String> {
        let images = clade_images::list().map_err(|error| error.to_string())?;
        let there = |image: &clade_images::ImageSummary| {
            image.cached && image.name.split(':').next() == Some("debian")
        };
        if !quick && images.iter().any(there) {
            return Self::debian();
        }
        let why = match quick {
            true => "it is what --quick takes",
            false => "there is no image `debian` yet (`clade pull debian` makes it)",
        };
        eprintln!("the guest is `mini`: {why}");
        let image = boot::mini()?;
        Ok(Self {
            image: "mini",
            title: image.name.to_string(),
            kernel: image.kernel,
            initrd: image.initrd,
            cmdline: image.cmdline,
            disk: None,
            memory: 512,
            warm: FILE,
        })
    }

    fn debian() -> Result<Self, String> {
        let request = DebianRequest {
            name: "debian".into(),
            ..Default::default()
        };
        let image = clade_images::ensure_debian(&request, &Refuse, &Silent)
            .map_err(|error| error.to_string())?;
        eprintln!("the guest is `debian`; QEMU's has no warm process, as nobody logs in");
        Ok(Self {
            image: "debian",
            title: image.name.to_string(),
            kernel: image.kernel,
            initrd: image.initrd,
            cmdline: image.cmdline,
            disk: Some(image.disk),
            memory: 512,
            warm: PERL,
        })
    }

    /// An empty layer above the disk, or an empty disk, which is all that QEMU needs to keep states in.
    pub(super) fn overlay(&self, folder: &Path, name: &str) -> Result<PathBuf, String> {
        let path = folder.join(name);
        create_disk(&path, self.disk.as_ref())?;
        Ok(path)
    }
}
