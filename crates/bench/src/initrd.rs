//! Initramfs archives with something of the benchmark's behind them, for as long as a run lasts.

use std::fs;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use clade_images::cpio;

/// A temporary file: an archive, and another behind it. The kernel unpacks both.
pub(crate) struct Initrd {
    path: PathBuf,
}

type File = BufWriter<fs::File>;

impl Initrd {
    /// Copies the archive `base` and lets `fill` write what comes behind it.
    pub(crate) fn behind(
        base: &Path,
        fill: impl FnOnce(&mut cpio::Writer<File>) -> io::Result<()>,
    ) -> Result<Self, String> {
        let name = format!("clade-bench-{}.cpio", std::process::id());
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
        let size = fs::copy(base, &self.path)?;
        let mut file = fs::File::options().write(true).open(&self.path)?;
        file.seek(SeekFrom::End(0))?;
        let padding = size.next_multiple_of(4) - size;
        file.write_all(&[0; 3][..padding as usize])?;
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
