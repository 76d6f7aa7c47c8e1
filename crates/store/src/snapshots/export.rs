use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, HeaderMode};

use super::{MANIFEST, Snapshot};
use crate::Error;

/// Bytes that are written at once.
const BUFFER: usize = 1 << 20;

impl Snapshot {
    /// Bytes that [`Snapshot::export`] reads, about.
    ///
    /// # Errors
    /// A file is missing.
    pub fn export_size(&self) -> Result<u64, Error> {
        let size = self.size()?;
        Ok(size.own + size.shared)
    }

    /// Writes all of the snapshot as one file, a tar archive as GNU's, which knows files with holes,
    /// compressed as gzip (RFC 1952): a folder with the snapshot's name, the manifest first. `to` is called `path` in errors; `progress` is told of the bytes that were read so far.
    ///
    /// # Errors
    /// A file is missing or damaged, or `to` cannot be written.
    pub fn export(
        &self,
        to: impl Write,
        path: &Path,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Error> {
        self.check()?;
        let failed = |error| Error::io("write", path, error);
        // Pages of memory compress well at once, and hardly better with patience.
        let gzip = GzEncoder::new(BufWriter::with_capacity(BUFFER, to), Compression::fast());
        let mut tar = Builder::new(Counted {
            to: gzip,
            bytes: 0,
            progress,
        });
        // Whose files they are, and since when, is nobody's business.
        tar.mode(HeaderMode::Deterministic);
        let names = self.manifest.files.keys().map(|name| name.as_str());
        for name in [MANIFEST].into_iter().chain(names) {
            let from = self.folder.join(name);
            let mut file = File::open(&from).map_err(|error| Error::io("open", &from, error))?;
            let inside = Path::new(self.name.as_str()).join(name);
            tar.append_file(inside, &mut file).map_err(failed)?;
        }
        let gzip = tar.into_inner().map_err(failed)?.to;
        let mut to = gzip.finish().map_err(failed)?;
        to.flush().map_err(failed)
    }
}

/// Tells of what passes.
struct Counted<'a, W> {
    to: W,
    bytes: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.to.write(bytes)?;
        self.bytes += count as u64;
        (self.progress)(self.bytes);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
