//! Initramfs archives with something of the benchmark's behind them, for as long as a run lasts.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clade_images::cpio;

/// A temporary file: an archive, and another behind it. The kernel unpacks both.
pub(crate) struct Initrd {
    path: PathBuf,
}

const PREFIX: &str = "clade-bench-";
const SUFFIX: &str = ".cpio";

/// Removes what runs left behind that were killed: those whose process is gone.
fn remove_abandoned() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten() {
        let Ok(entry) = entry else { continue };
        let name = entry.file_name();
        let process = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX))
            .and_then(|process| process.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            // One of another user cannot be removed, and does no harm.
            let _ = fs::remove_file(entry.path());
        }
    }
}

type File = BufWriter<fs::File>;

impl Initrd {
    /// Copies the archive `base` and lets `fill` write what comes behind it.
    pub(crate) fn behind(
        base: &Path,
        fill: impl FnOnce(&mut cpio::Writer<File>) -> io::Result<()>,
    ) -> Result<Self, String> {
        remove_abandoned();
        let name = format!("{PREFIX}{}{SUFFIX}", std::process::id());
        let initrd = Self {
            path: std::env::temp_dir().join(name),
        };
        initrd
            .write(base, fill)
            .map_err(|error| format!("{}: {error}", initrd.path.display()))?;
        Ok(initrd)
    }

    fn write(
        &self,
        base: &Path,
        fill: impl FnOnce(&mut cpio::Writer<File>) -> io::Result<()>,
    ) -> io::Result<()> {
        let file = cpio::copy_for_another(base, &self.path)?;
        let mut archive = cpio::Writer::new(BufWriter::new(file), 0);
        fill(&mut archive)?;
        archive.finish()?.flush()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Initrd {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
