use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use flate2::bufread::GzDecoder;
use tar::{Archive, Entry, EntryType};

use super::{DraftSnapshot, MANIFEST, Manifest, Snapshots};
use crate::digest::FileRecord;
use crate::{ContentError, Error, FileName, free_space, sealed};

/// A snapshot that came in one file: all of it is there and has the right checksums.
#[derive(Debug)]
pub struct Imported {
    /// Its folder's name where it came from.
    pub name: FileName,
    /// What it was there.
    pub manifest: Manifest,
    /// Its files here.
    pub draft: DraftSnapshot,
}

/// Bytes that an archive may have before a file begins: headers, names, lists of holes.
const HEADERS_MAX: u64 = 16 << 20;

/// Bytes of a manifest.
const MANIFEST_MAX: u64 = 16 << 20;

/// Bytes, with holes, that files may always have together, and how many times the free space otherwise: to
/// go through holes takes time.
const HOLES_MAX: u64 = 1 << 40;
const HOLES_FACTOR: u64 = 16;

/// Bytes that are left free.
const RESERVE: u64 = 64 << 20;

/// Bytes that are written, or left out as zeros, at once.
const PIECE: usize = 64 << 10;

impl Snapshots {
    /// Reads a snapshot that [`super::Snapshot::export`] wrote. `accept` may refuse it, when its name and
    /// manifest are known. `path` is what `from` is called in errors; `progress` is told of the bytes of
    /// it that were read so far.
    ///
    /// # Errors
    /// The archive is cut short, damaged or of another kind, or there is no room; nothing is left then.
    pub fn import<E: From<Error>>(
        &self,
        from: impl Read,
        path: &Path,
        accept: impl FnOnce(&FileName, &Manifest) -> Result<(), E>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Imported, E> {
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
        let mut import = Import {
            draft: self.begin()?,
            missing: manifest.files.keys().cloned().collect(),
            room: self.room(&manifest, path)?,
            manifest,
            path: path.to_owned(),
        };
        while let Some(mut entry) = next()? {
            import.take(&name, &mut entry)?;
        }
        if let Some(missing) = import.missing.first() {
            return Err(damaged(path, format!("{missing} is not in it")).into());
        }
        Ok(Imported {
            name,
            manifest: import.manifest,
            draft: import.draft,
        })
    }

    /// Bytes that the files may take.
    fn room(&self, manifest: &Manifest, path: &Path) -> Result<u64, Error> {
        let free = free_space(self.folder())?;
        let sizes = manifest.files.values().map(|record| record.size);
        let all = sizes.fold(0, u64::saturating_add);
        if all > free.saturating_mul(HOLES_FACTOR).max(HOLES_MAX) {
            return Err(damaged(path, format!("its files have {all} bytes")));
        }
        Ok(free.saturating_sub(RESERVE))
    }
}

/// An archive on its way in.
struct Import {
    draft: DraftSnapshot,
    manifest: Manifest,
    missing: BTreeSet<FileName>,
    /// Bytes that may still be written.
    room: u64,
    path: PathBuf,
}

impl Import {
    fn take(&mut self, folder: &FileName, entry: &mut Entry<'_, impl Read>) -> Result<(), Error> {
        let (parent, name) = names(entry, &self.path)?;
        if parent != *folder || !self.missing.remove(&name) {
            let reason = format!("{parent}/{name} does not belong into it");
            return Err(damaged(&self.path, reason));
        }
        let record = self.manifest.files[&name];
        let path = self.path.clone();
        let wrong = |reason: &str| damaged(&path, format!("{name} in it {reason}"));
        if entry.size() != record.size {
            return Err(wrong("has another size than its manifest says"));
        }
        let file = self.draft.create(&name)?;
        self.write(entry, &file, &name)?;
        file.set_len(record.size)
            .map_err(|error| Error::io("write", &self.draft.path(&name), error))?;
        file.sync_all()
            .map_err(|error| Error::io("sync", &self.draft.path(&name), error))?;
        let here = FileRecord::of(&file);
        let here = here.map_err(|error| Error::content(&self.draft.path(&name), error))?;
        if here.blake3 != record.blake3 {
            return Err(wrong("is not what it was when it was written"));
        }
        self.draft.know([here]);
        Ok(())
    }

    /// Writes what is not zero.
    fn write(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        file: &File,
        name: &FileName,
    ) -> Result<(), Error> {
        let zeros = vec![0; PIECE];
        let mut piece = Vec::with_capacity(PIECE);
        let mut at = 0;
        loop {
            piece.clear();
            let read = entry.take(PIECE as u64).read_to_end(&mut piece);
            let count = read.map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => {
                    damaged(&self.path, format!("it ends in the middle of {name}"))
                }
                _ => failed(&self.path, error),
            })?;
            if piece != zeros[..count] {
                let room = self.room.checked_sub(count as u64);
                let place = self.draft.path(name);
                let full = || Error::io("write", &place, ErrorKind::StorageFull.into());
                self.room = room.ok_or_else(full)?;
                file.write_all_at(&piece, at)
                    .map_err(|error| Error::io("write", &place, error))?;
            }
            at += count as u64;
            if count < PIECE {
                return Ok(());
            }
        }
    }
}

/// The manifest is the first file.
fn read_manifest(
    entry: &mut Entry<'_, impl Read>,
    path: &Path,
) -> Result<(FileName, Manifest), Error> {
    let (folder, name) = names(entry, path)?;
    if name.as_str() != MANIFEST || entry.size() > MANIFEST_MAX {
        return Err(foreign(path));
    }
    let mut text = Vec::new();
    entry
        .read_to_end(&mut text)
        .map_err(|error| failed(path, error))?;
    let inside = path.join(&folder).join(name);
    let manifest = sealed::parse(&text).map_err(|error| Error::content(&inside, error))?;
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

/// The reader's own words for what is wrong with an archive say that it is.
fn failed(path: &Path, error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(_) => Error::io("read", path, error),
        None => damaged(path, error.to_string()),
    }
}

fn damaged(path: &Path, reason: String) -> Error {
    Error::content(path, ContentError::damaged(reason))
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
