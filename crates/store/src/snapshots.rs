//! Snapshots, each a folder that holds by hard links everything it needs.
//!
//! There is no database and no reference count but the file system's own: what a snapshot shares with
//! others has a name in each of their folders, and is freed with the last. A folder is made under a
//! passing name and renamed when it is whole; it is renamed again before it is removed. Both ways the
//! passing name has a lock, so what dead processes left behind is told from what is at work.
//!
//! ```text
//! ID/snapshot.json          the manifest: what it is, and a record of every other file
//! ID/...                    state, index and layers of memory, disks
//! .new-ID  .new-ID.lock     on its way
//! .gone-ID .gone-ID.lock    on its way out
//! ```
//!
//! Templates are kept the same way, in folders with names that people chose.

mod draft;
mod export;
mod import;
mod intake;
mod manifest;
mod passing;
mod snapshot;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::{ContentError, Error, FileName, sealed};

pub use draft::DraftSnapshot;
pub use intake::{Imported, Intake};
pub use manifest::{CODE_CACHE, Details, MANIFEST, MEMORY_INDEX, Manifest, Origin, STATE};
pub use snapshot::{Size, Snapshot};

use passing::Passing;

const NEW: &str = ".new-";
const GONE: &str = ".gone-";

/// A folder of snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshots {
    folder: PathBuf,
}

/// All that there is.
#[derive(Debug, Default)]
pub struct Survey {
    /// The snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Folders whose manifest cannot be used, by name.
    pub unreadable: Vec<Unreadable>,
}

/// A folder whose manifest cannot be used.
#[derive(Debug)]
pub struct Unreadable {
    /// The folder's name.
    pub name: FileName,
    /// Why.
    pub reason: Error,
}

impl Snapshots {
    /// The snapshots in this folder, which is created if missing.
    ///
    /// # Errors
    /// The folder cannot be created, or is not this user's alone.
    pub fn in_folder(folder: PathBuf) -> Result<Self, Error> {
        crate::private_folder(&folder)?;
        Ok(Self { folder })
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Begins a snapshot with an id of its own. Dropped before it is committed, it leaves nothing
    /// behind.
    ///
    /// # Errors
    /// Its folder cannot be created.
    pub fn begin(&self) -> Result<DraftSnapshot, Error> {
        DraftSnapshot::begin(self)
    }

    /// All snapshots. Clears away what dead processes left behind.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self) -> Result<Survey, Error> {
        let mut survey = Survey::default();
        for name in self.names()? {
            if name.starts_with(NEW) || name.starts_with(GONE) {
                Passing::clear_if_dead(&self.folder, &name)?;
            } else if let Ok(name) = FileName::new(name) {
                match self.get(&name) {
                    Ok(Some(snapshot)) => survey.snapshots.push(snapshot),
                    Ok(None) => {}
                    Err(reason) => survey.unreadable.push(Unreadable { name, reason }),
                }
            }
        }
        let age = |one: &Snapshot| (one.manifest.created_ns(), one.name.clone());
        survey.snapshots.sort_by_key(age);
        survey.unreadable.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(survey)
    }

    /// The snapshot whose folder has this name; `None` if there is none.
    ///
    /// # Errors
    /// Its manifest is damaged, missing or of another version.
    pub fn get(&self, name: &FileName) -> Result<Option<Snapshot>, Error> {
        let folder = self.folder.join(name);
        match sealed::read(&folder.join(MANIFEST)) {
            Ok(manifest) => Ok(Some(Snapshot {
                name: name.clone(),
                folder,
                manifest,
            })),
            // Files are none, and a folder may be gone since it was looked at.
            Err(_) if !folder.is_dir() => Ok(None),
            Err(Error::Io { path, source, .. }) if source.kind() == io::ErrorKind::NotFound => Err(
                Error::content(&path, ContentError::damaged("it is missing")),
            ),
            Err(error) => Err(error),
        }
    }

    /// The snapshot whose folder has this name, or else the only one whose folder's name starts so.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`], [`Error::Ambiguous`], and as [`Snapshots::get`].
    pub fn find(&self, text: &str) -> Result<Snapshot, Error> {
        let mut names = self.names()?;
        names.retain(|name| !text.is_empty() && name.starts_with(text));
        if names.iter().any(|name| name == text) {
            names = vec![text.to_owned()];
        }
        let names: Vec<_> = names.into_iter().flat_map(FileName::new).collect();
        let found = match &names[..] {
            [] => None,
            [name] => self.get(name)?,
            several => {
                return Err(Error::Ambiguous {
                    text: text.to_owned(),
                    several: several.iter().map(FileName::to_string).collect(),
                });
            }
        };
        found.ok_or_else(|| Error::NoSnapshot {
            name: text.to_owned(),
        })
    }

    /// Removes a snapshot, readable or not. What others share with it they keep.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`]; its folder cannot be removed.
    pub fn remove(&self, name: &FileName) -> Result<(), Error> {
        let gone = Passing::begin(&self.folder, &format!("{GONE}{name}"))?;
        let folder = self.folder.join(name);
        // A snapshot is a folder: nothing else is touched.
        if !folder.is_dir() {
            return Err(self.no_snapshot(name));
        }
        match fs::rename(&folder, gone.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(self.no_snapshot(name));
            }
            result => result.map_err(|error| Error::io("remove", &folder, error))?,
        }
        crate::sync_folder(&self.folder)?;
        gone.clear()
    }

    /// Reads a whole snapshot, and says all that is wrong with it: nothing if it is as it was made.
    ///
    /// # Errors
    /// [`Error::NoSnapshot`], and as [`Snapshots::get`].
    pub fn verify(&self, name: &FileName) -> Result<Vec<Error>, Error> {
        let snapshot = self.get(name)?.ok_or_else(|| self.no_snapshot(name))?;
        Ok(snapshot.verify())
    }

    fn no_snapshot(&self, name: &FileName) -> Error {
        Error::NoSnapshot {
            name: name.to_string(),
        }
    }

    /// What is in the folder. Names that are no text are not ours.
    fn names(&self) -> Result<Vec<String>, Error> {
        let failed = |error| Error::io("list", &self.folder, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            names.extend(entry.map_err(failed)?.file_name().into_string());
        }
        Ok(names)
    }
}
