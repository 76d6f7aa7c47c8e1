use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{DraftSnapshot, Manifest, Snapshots};
use crate::digest::FileRecord;
use crate::{ContentError, Error, FileName, free_space};

/// A snapshot that came from elsewhere: all of it is there and has the right checksums.
#[derive(Debug)]
pub struct Imported {
    /// What it was where it came from.
    pub manifest: Manifest,
    /// Its files here.
    pub draft: DraftSnapshot,
}

/// A snapshot on its way in, file by file: its manifest says what they must be. Dropped, it leaves
/// nothing behind.
#[derive(Debug)]
pub struct Intake {
    draft: DraftSnapshot,
    manifest: Manifest,
    missing: BTreeSet<FileName>,
    /// Bytes that may still be written.
    room: u64,
    /// What it comes from, for errors.
    path: PathBuf,
}

/// Bytes, with holes, that files may always have together, and how many times the free space otherwise: to
/// go through holes takes time.
const HOLES_MAX: u64 = 1 << 40;
const HOLES_FACTOR: u64 = 16;

/// Bytes that are left free.
const RESERVE: u64 = 64 << 20;

/// Bytes that are written, or left out as zeros, at once.
const PIECE: usize = 64 << 10;

impl Snapshots {
    /// Begins to take in a snapshot with this manifest. What it comes from is called `path` in errors.
    ///
    /// # Errors
    /// Its files have more bytes than could be meant, or its folder cannot be created.
    pub fn take_in(&self, manifest: Manifest, path: &Path) -> Result<Intake, Error> {
        Ok(Intake {
            room: self.room(&manifest, path)?,
            draft: self.begin()?,
            missing: manifest.files.keys().cloned().collect(),
            manifest,
            path: path.to_owned(),
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

impl Intake {
    /// What it is where it comes from.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The files that have not come yet.
    pub fn missing(&self) -> Vec<FileName> {
        self.missing.iter().cloned().collect()
    }

    /// Writes what is not zero of a file's content.
    ///
    /// # Errors
    /// The file is none of it or has come already, its content is not what the manifest says, or it
    /// cannot be written.
    pub fn take(&mut self, name: &FileName, content: impl Read) -> Result<(), Error> {
        if !self.missing.remove(name) {
            return Err(damaged(
                &self.path,
                format!("{name} does not belong into it"),
            ));
        }
        let record = self.manifest.files[name];
        let file = self.draft.create(name)?;
        let place = self.draft.path(name);
        self.write(content, record.size, &file, name)?;
        file.set_len(record.size)
            .map_err(|error| Error::io("write", &place, error))?;
        file.sync_all()
            .map_err(|error| Error::io("sync", &place, error))?;
        let here = FileRecord::of(&file).map_err(|error| Error::content(&place, error))?;
        if here.blake3 != record.blake3 {
            let reason = format!("{name} in it is not what it was when it was written");
            return Err(damaged(&self.path, reason));
        }
        self.draft.know([here]);
        Ok(())
    }

    /// Has a file that is on this host already, and that nobody writes to, as one of its own. `here` is
    /// what it was when it was last read: as for a snapshot, it is read again only if it changed since.
    ///
    /// # Errors
    /// The file is not what the manifest says; it cannot be linked to. Then it is still missing.
    pub fn link(
        &mut self,
        name: &FileName,
        existing: &Path,
        here: &FileRecord,
    ) -> Result<(), Error> {
        let wanted = self.manifest.files.get(name);
        let fits = |wanted: &&FileRecord| {
            (wanted.size, wanted.blake3) == (here.size, here.blake3) && self.missing.contains(name)
        };
        if wanted.filter(fits).is_none() {
            let reason = format!("{name} does not belong into it");
            return Err(damaged(&self.path, reason));
        }
        here.check_path(existing)?;
        self.draft.link(existing, name)?;
        self.draft.know([*here]);
        self.missing.remove(name);
        Ok(())
    }

    /// The snapshot, all of whose files have come.
    ///
    /// # Errors
    /// One has not.
    pub fn finish(self) -> Result<Imported, Error> {
        match self.missing.first() {
            Some(missing) => Err(damaged(&self.path, format!("{missing} is not in it"))),
            None => Ok(Imported {
                manifest: self.manifest,
                draft: self.draft,
            }),
        }
    }

    fn write(
        &mut self,
        mut content: impl Read,
        size: u64,
        file: &File,
        name: &FileName,
    ) -> Result<(), Error> {
        let zeros = vec![0; PIECE];
        let mut piece = Vec::with_capacity(PIECE);
        let mut at = 0;
        loop {
            piece.clear();
            let read = (&mut content).take(PIECE as u64).read_to_end(&mut piece);
            let count = read.map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => {
                    damaged(&self.path, format!("it ends in the middle of {name}"))
                }
                _ => failed(&self.path, error),
            })?;
            let place = at;
            at += count as u64;
            let is_end = count < PIECE;
            if at > size || (is_end && at < size) {
                let reason = format!("{name} in it has another size than its manifest says");
                return Err(damaged(&self.path, reason));
            }
            if piece != zeros[..count] {
                self.put(&piece, place, file, name)?;
            }
            if is_end {
                return Ok(());
            }
        }
    }

    fn put(&mut self, piece: &[u8], at: u64, file: &File, name: &FileName) -> Result<(), Error> {
        let failed = |error| Error::io("write", &self.draft.path(name), error);
        let room = self.room.checked_sub(piece.len() as u64);
        self.room = room.ok_or_else(|| failed(ErrorKind::StorageFull.into()))?;
        file.write_all_at(piece, at).map_err(failed)
    }
}

/// The reader's own words for what is wrong with an archive say that it is.
pub(super) fn failed(path: &Path, error: std::io::Error) -> Error {
    match error.raw_os_error() {
        Some(_) => Error::io("read", path, error),
        None => damaged(path, error.to_string()),
    }
}

pub(super) fn damaged(path: &Path, reason: String) -> Error {
    Error::content(path, ContentError::damaged(reason))
}
