use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{CODE_CACHE, Details, MANIFEST, Manifest, NEW, Passing, Snapshot, Snapshots};
use crate::digest::{FileRecord, KnownFiles};
use crate::{Error, FileName, link_or_copy, sealed};

/// A snapshot that is being made. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub struct DraftSnapshot {
    id: FileName,
    passing: Passing,
    parent: PathBuf,
    known: KnownFiles,
}

impl DraftSnapshot {
    pub(super) fn begin(snapshots: &Snapshots) -> Result<Self, Error> {
        let parent = snapshots.folder().to_owned();
        let id = new_id().map_err(|error| Error::io("read randomness for", &parent, error))?;
        let passing = Passing::begin(&parent, &format!("{NEW}{id}"))?;
        DirBuilder::new()
            .mode(0o700)
            .create(passing.path())
            .map_err(|error| Error::io("create folder", passing.path(), error))?;
        Ok(Self {
            id,
            passing,
            parent,
            known: KnownFiles::default(),
        })
    }

    /// The snapshot's id.
    pub fn id(&self) -> &FileName {
        &self.id
    }

    /// Where its files are meanwhile.
    pub fn folder(&self) -> &Path {
        self.passing.path()
    }

    /// The names of its files so far.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn names(&self) -> Result<Vec<FileName>, Error> {
        let folder = self.passing.path();
        let failed = |error| Error::io("list", folder, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let name = FileName::new(name)
                .map_err(|error| Error::io("keep", &path, io::Error::other(error)))?;
            names.push(name);
        }
        Ok(names)
    }

    /// Where a file of it is meanwhile.
    pub fn path(&self, file: &FileName) -> PathBuf {
        self.passing.path().join(file)
    }

    /// Tells of files that may be linked to and what they were when they were last read: those that
    /// still are so at a glance need not be read again.
    pub fn know(&mut self, records: impl IntoIterator<Item = FileRecord>) {
        self.known.know(records);
    }

    /// Has a file that exists, and that nobody writes to any more, as one of its own.
    ///
    /// # Errors
    /// As [`link_or_copy`].
    pub fn link(&self, existing: &Path, name: &FileName) -> Result<(), Error> {
        link_or_copy(existing, &self.path(name))
    }

    /// Makes an empty file, open for reading and writing.
    ///
    /// # Errors
    /// There is one of this name, or it cannot be created.
    pub fn create(&self, name: &FileName) -> Result<File, Error> {
        let path = self.path(name);
        File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| Error::io("create", &path, error))
    }

    /// Completes the snapshot: it is on disk and bears its id when this returns. Nobody may write to
    /// any of its files from here on.
    ///
    /// # Errors
    /// A file cannot be read or synced, or part of the memory is missing; then there is no snapshot.
    pub fn commit(self, details: Details) -> Result<Snapshot, Error> {
        let name = self.id.clone();
        self.commit_as(&name, details)
    }

    /// [`DraftSnapshot::commit`], into a folder of this name, as for templates.
    ///
    /// # Errors
    /// As there, and [`Error::SnapshotExists`].
    pub fn commit_as(self, name: &FileName, details: Details) -> Result<Snapshot, Error> {
        let created = SystemTime::now().duration_since(UNIX_EPOCH);
        let created = created.unwrap_or_default();
        let mut snapshot = Snapshot {
            name: name.clone(),
            folder: self.passing.path().to_owned(),
            manifest: Manifest {
                id: self.id.clone(),
                created: created.as_secs(),
                created_nanos: created.subsec_nanos(),
                details,
                files: self.seal_files()?,
            },
        };
        snapshot.check_memory()?;
        sealed::write(&self.passing.path().join(MANIFEST), &snapshot.manifest)?;
        snapshot.folder = self.parent.join(name);
        // A folder that has anything in it is not replaced.
        match fs::rename(self.passing.path(), &snapshot.folder) {
            Err(error) if is_taken(&error) => {
                return Err(Error::SnapshotExists {
                    name: name.to_string(),
                });
            }
            result => result.map_err(|error| Error::io("name", &snapshot.folder, error))?,
        }
        crate::sync_folder(&self.parent)?;
        Ok(snapshot)
    }

    /// Makes all files durable and read-only.
    fn seal_files(&self) -> Result<BTreeMap<FileName, FileRecord>, Error> {
        let seal = |name: FileName| {
            let record = self.seal_file(&self.path(&name))?;
            Ok((name, record))
        };
        let names = self.names()?.into_iter();
        let parts = names.filter(|name| name.as_str() != CODE_CACHE);
        parts.map(seal).collect()
    }

    fn seal_file(&self, path: &Path) -> Result<FileRecord, Error> {
        let failed = |error| Error::io("sync", path, error);
        let file = File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if meta.mode() & 0o222 != 0 {
            let read_only = Permissions::from_mode(0o444);
            file.set_permissions(read_only).map_err(failed)?;
        }
        self.known
            .seal(&file)
            .map_err(|error| Error::content(path, error))
    }
}

fn is_taken(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotADirectory};
    matches!(
        error.kind(),
        AlreadyExists | DirectoryNotEmpty | NotADirectory
    )
}

/// Twelve hexadecimal digits at random.
fn new_id() -> io::Result<FileName> {
    let mut random = [0; 6];
    let got = rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty())?;
    if got != random.len() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    FileName::new(digits).map_err(io::Error::other)
}
