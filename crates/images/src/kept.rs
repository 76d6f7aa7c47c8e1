//! Finished files in a folder, and the record beside them that makes them valid.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Error;

/// The record's name in a folder of its own.
pub(crate) const MANIFEST: &str = "manifest.json";

/// What changes when anybody writes to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// Bytes.
    size: u64,
    /// Seconds since 1970 and nanoseconds.
    modified: (i64, i64),
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> Result<Self, Error> {
        let meta =
            fs::metadata(path).map_err(|error| clade_store::Error::io("inspect", path, error))?;
        Ok(Self {
            size: meta.size(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        })
    }

    /// Bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Whether the file is still there and as it was.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        Self::of(path).is_ok_and(|now| now == *self)
    }
}

/// The record at `path`, if there is one that this version of Clade understands.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Writes a record, in place of the one before.
pub(crate) fn write(path: &Path, record: &impl Serialize) -> Result<(), Error> {
    let json =
        serde_json::to_vec_pretty(record).map_err(|error| Error::malformed("a record", error))?;
    Ok(clade_store::write(path, &json)?)
}

/// Removes what is in a folder besides its record and the files called `kept`. What cannot be
/// removed costs only space, and the next version tries again.
pub(crate) fn sweep(folder: &Path, kept: &[&str]) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        if name != MANIFEST && !kept.contains(&name) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether a file is one of `needed`, by whatever path.
pub(crate) fn is_needed(file: &Path, needed: &[PathBuf]) -> bool {
    let file = file.canonicalize();
    file.is_ok_and(|file| needed.contains(&file))
}

/// Removes the image called `name`, which has a folder of its own. Its record goes first: what is
/// left when the rest cannot be removed is not valid.
pub(crate) fn remove(folder: &Path, name: &str) -> Result<(), Error> {
    let record = folder.join(MANIFEST);
    fs::remove_file(&record).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::NotHere {
            name: name.to_owned(),
        },
        _ => clade_store::Error::io("remove", &record, error).into(),
    })?;
    fs::remove_dir_all(folder).map_err(|error| clade_store::Error::io("remove", folder, error))?;
    Ok(())
}
