use std::fs::{self, File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{CODE_CACHE, MEMORY_INDEX, Manifest, STATE};
use crate::memory::MemoryIndex;
use crate::{ContentError, Error, FileName};

/// A snapshot, as its manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its folder's name.
    pub name: FileName,
    /// What it is.
    pub manifest: Manifest,
    pub(super) folder: PathBuf,
}

/// Room that the files of a snapshot or a machine take, in bytes of the disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// What is freed with it.
    pub own: u64,
    /// What others have as well.
    pub shared: u64,
}

impl Size {
    /// The room that all files in a folder take. It may change meanwhile; links that lead elsewhere take
    /// none.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn of_folder(folder: &Path) -> Result<Self, Error> {
        let failed = |error| Error::io("list", folder, error);
        let mut size = Self::default();
        for entry in fs::read_dir(folder).map_err(failed)? {
            match entry.map_err(failed)?.metadata() {
                Ok(meta) if meta.is_file() => size.add(&meta),
                _ => {}
            }
        }
        Ok(size)
    }

    fn add(&mut self, meta: &Metadata) {
        let of_kind = match meta.nlink() {
            1 => &mut self.own,
            _ => &mut self.shared,
        };
        *of_kind += meta.blocks() * 512;
    }
}

impl Snapshot {
    /// Where its files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a file of it is.
    pub fn path(&self, file: &FileName) -> PathBuf {
        self.folder.join(file)
    }

    /// Makes sure that all its files can be used. Those that are as they were at a glance are not
    /// read; see [`crate::digest::FileRecord::check`].
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub fn check(&self) -> Result<(), Error> {
        for (name, record) in &self.manifest.files {
            record.check_path(&self.path(name))?;
        }
        Ok(())
    }

    /// Reads all its files, and says all that is wrong.
    pub fn verify(&self) -> Vec<Error> {
        let files = self.manifest.files.iter();
        files
            .map(|(name, record)| record.verify_path(&self.path(name)))
            .filter_map(Result::err)
            .collect()
    }

    /// The room that it takes on disk.
    ///
    /// # Errors
    /// A file is missing.
    pub fn size(&self) -> Result<Size, Error> {
        let mut size = Size::default();
        let manifest = self.folder.join(super::MANIFEST);
        let files = self.manifest.files.keys().map(|name| self.path(name));
        for path in files.chain([manifest]) {
            let meta = fs::metadata(&path).map_err(|error| Error::io("inspect", &path, error))?;
            size.add(&meta);
        }
        if let Ok(meta) = fs::metadata(self.folder.join(CODE_CACHE)) {
            size.add(&meta);
        }
        Ok(size)
    }

    /// The index of its memory; `None` if it is of disks alone.
    ///
    /// # Errors
    /// The index is missing or damaged.
    pub fn memory_index(&self) -> Result<Option<MemoryIndex>, Error> {
        let path = self.folder.join(MEMORY_INDEX);
        match self.manifest.details.memory_bytes {
            Some(_) => MemoryIndex::read(&path).map(Some),
            None => Ok(None),
        }
    }

    /// Whether all parts of the memory are there: asked once, as files do not change.
    pub(super) fn check_memory(&self) -> Result<(), Error> {
        let Some(index) = self.memory_index()? else {
            return Ok(());
        };
        let missing = |name: &str| {
            let reason = ContentError::damaged("the snapshot needs it and does not have it");
            Error::content(&self.folder.join(name), reason)
        };
        let has = |name: &str| self.manifest.files.keys().any(|one| one.as_str() == name);
        if let Some(name) = [STATE, MEMORY_INDEX].into_iter().find(|name| !has(name)) {
            return Err(missing(name));
        }
        for (layer, needed) in index.layers().iter().zip(index.layer_lengths()) {
            let record = self.manifest.files.get(layer);
            let record = record.ok_or_else(|| missing(layer.as_str()))?;
            if record.size < needed {
                let reason = format!("it has {} bytes, and {needed} are needed", record.size);
                let reason = ContentError::damaged(reason);
                return Err(Error::content(&self.path(layer), reason));
            }
        }
        Ok(())
    }

    /// Opens a file of it for reading.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(&self, file: &FileName) -> Result<File, Error> {
        let path = self.path(file);
        File::open(&path).map_err(|error| Error::io("open", &path, error))
    }
}
