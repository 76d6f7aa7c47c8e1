use std::cell::Cell;
use std::io::{self, BufReader, Read};
use std::path::{Component, Path};
use std::rc::Rc;

use flate2::bufread::GzDecoder;
use tar::{Archive, Entry, EntryType};

use super::intake::{damaged, failed};
use super::{Imported, Intake, MANIFEST, Manifest, Snapshots};
use crate::{ContentError, Error, FileName};

/// Bytes that an archive may have before a file begins: headers, names, lists of holes.
const HEADERS_MAX: u64 = 16 << 20;

impl Snapshots {
    /// Reads a snapshot that [`super::Snapshot::export`] wrote, and its folder's name where it comes
    /// from. `accept` may refuse it, when its name and manifest are known. `path` is what `from` is called
    /// in errors; `progress` is told of the bytes of it that were read so far.
    ///
    /// # Errors
    /// The archive is cut short, damaged or of another kind, or there is no room; nothing is left then.
    pub fn import<E: From<Error>>(
        &self,
        from: impl Read,
        path: &Path,
        accept: impl FnOnce(&FileName, &Manifest) -> Result<(), E>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(FileName, Imported), E> {
        let budget = Rc::new(Cell::new(HEADERS_MAX));
        let counted = Counted {
            from,
            bytes: 0,
            progress,
        };
        let gzip = GzDecoder::new(BufReader::with_capacity(1 << 20, counted));
        let mut archive = Archive::new(Budgeted {
            from: gzip,
            budget: Rc::clone(&budget),
        });
        let failed = |error: io::Error| failed(path, error);
        let mut entries = archive.entries().map_err(failed)?;
        let mut next = || {
            budget.set(HEADERS_MAX);
            let next = entries.next().transpose().map_err(failed);
            budget.set(u64::MAX);
            next
        };
        let Some(mut first) = next()? else {
            return Err(foreign(path).into());
        };
        let (name, manifest) = read_manifest(&mut first, path)?;
        accept(&name, &manifest)?;
        let mut intake = self.take_in(manifest, path)?;
        while let Some(mut entry) = next()? {
            take(&mut intake, &name, &mut entry, path)?;
        }
        Ok((name, intake.finish()?))
    }
}

/// Takes one file of the archive, which is in this folder.
fn take(
    intake: &mut Intake,
    folder: &FileName,
    entry: &mut Entry<'_, impl Read>,
    path: &Path,
) -> Result<(), Error> {
    let (parent, name) = names(entry, path)?;
    if parent != *folder {
        return Err(damaged(
            path,
            format!("{parent}/{name} does not belong into it"),
        ));
    }
    intake.take(&name, entry)
}

/// The manifest is the first file.
fn read_manifest(
    entry: &mut Entry<'_, impl Read>,
    path: &Path,
) -> Result<(FileName, Manifest), Error> {
    let (folder, name) = names(entry, path)?;
    if name.as_str() != MANIFEST || entry.size() > Manifest::LONGEST {
        return Err(foreign(path));
    }
    let mut text = Vec::new();
    entry
        .read_to_end(&mut text)
        .map_err(|error| failed(path, error))?;
    let manifest = Manifest::parse(&text, &path.join(&folder).join(name))?;
    Ok((folder, manifest))
}

/// The folder and name of a file.
fn names(entry: &Entry<'_, impl Read>, path: &Path) -> Result<(FileName, FileName), Error> {
    let kind = entry.header().entry_type();
    let is_file = matches!(kind, EntryType::Regular | EntryType::GNUSparse);
    let inside = entry.path().map_err(|error| failed(path, error))?;
    let names: Vec<_> = inside
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => FileName::new(name.to_string_lossy()).ok(),
            _ => None,
        })
        .collect();
    match <[FileName; 2]>::try_from(names) {
        Ok([folder, name]) if is_file && inside.components().count() == 2 => Ok((folder, name)),
        _ => Err(damaged(
            path,
            format!("{} does not belong into it", inside.display()),
        )),
    }
}

fn foreign(path: &Path) -> Error {
    let kind = "snapshot or template in one file";
    Error::content(path, ContentError::Foreign { kind })
}

/// Tells of what passes.
struct Counted<'a, R> {
    from: R,
    bytes: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(bytes)?;
        self.bytes += count as u64;
        (self.progress)(self.bytes);
        Ok(count)
    }
}

/// Fails when more is read than was allowed.
struct Budgeted<R> {
    from: R,
    budget: Rc<Cell<u64>>,
}

impl<R: Read> Read for Budgeted<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(bytes)?;
        match self.budget.get().checked_sub(count as u64) {
            Some(left) => {
                self.budget.set(left);
                Ok(count)
            }
            None => Err(io::Error::other("its headers are too long")),
        }
    }
}
