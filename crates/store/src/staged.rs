use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::Error;

/// How passing names begin.
const PREFIX: &str = ".staged-";

/// A file on its way: written beside its destination under a passing name, and given its real name
/// only when whole and synced. Dropped before [`Staged::commit`], it leaves nothing behind; a process
/// killed at any instant leaves the destination as it was or as it was to be.
#[derive(Debug)]
pub struct Staged {
    file: NamedTempFile,
    destination: PathBuf,
}

impl Staged {
    /// Begins a file that will be named `destination`. Its folder is created if missing.
    ///
    /// # Errors
    /// The folder or the file cannot be created.
    pub fn create(destination: &Path) -> Result<Self, Error> {
        let folder = folder_of(destination);
        create_folder(folder)?;
        let file = Builder::new()
            .prefix(PREFIX)
            .permissions(fs::Permissions::from_mode(0o644))
            .tempfile_in(folder)
            .map_err(|error| Error::io("create a file in", folder, error))?;
        Ok(Self {
            file,
            destination: destination.to_owned(),
        })
    }

    /// What it is called so far, for those who open it by its name.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The file as it is so far, for those who must do more than write one byte after the other.
    pub fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Syncs the file, gives it its name (replacing what had it) and syncs the folder.
    ///
    /// # Errors
    /// Any of these fails; the destination is then what it was before.
    pub fn commit(self) -> Result<(), Error> {
        let Self { file, destination } = self;
        file.as_file()
            .sync_all()
            .map_err(|error| Error::io("sync", &destination, error))?;
        file.persist(&destination)
            .map_err(|error| Error::io("name", &destination, error.error))?;
        sync_folder(folder_of(&destination))
    }

    /// The error for a failed write to this file.
    pub fn write_error(&self, source: io::Error) -> Error {
        Error::io("write", &self.destination, source)
    }
}

impl Write for Staged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes a whole file at once, by way of [`Staged`].
///
/// # Errors
/// The file cannot be written; what stood there before still does.
pub fn write(destination: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut staged = Staged::create(destination)?;
    staged
        .write_all(bytes)
        .map_err(|error| staged.write_error(error))?;
    staged.commit()
}

/// Gives a finished file another name in the same file system, syncing it and the folder first and
/// last, so that a crash leaves it under one name or the other.
///
/// # Errors
/// The file cannot be synced or renamed.
pub fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    File::open(from)
        .and_then(|file| file.sync_all())
        .map_err(|error| Error::io("sync", from, error))?;
    fs::rename(from, to).map_err(|error| Error::io("name", to, error))?;
    sync_folder(folder_of(to))
}

/// Creates a folder and its missing ancestors.
///
/// # Errors
/// One of them cannot be created.
pub fn create_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|error| Error::io("create folder", path, error))
}

/// Removes files that were on their way into a folder when their processes were killed. Nobody may be
/// writing there.
///
/// # Errors
/// The folder cannot be read, or a file cannot be removed.
pub fn clear_staged(folder: &Path) -> Result<(), Error> {
    let failed = |error| Error::io("clear away what is left in", folder, error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

/// Makes the names in a folder durable.
///
/// # Errors
/// The folder cannot be opened or synced.
pub fn sync_folder(path: &Path) -> Result<(), Error> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| Error::io("sync folder", path, error))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole_and_replaces_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/file");
        write(&path, b"one").unwrap();
        let mut staged = Staged::create(&path).unwrap();
        staged.write_all(b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        staged.commit().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(path.parent().unwrap()), ["file"]);
    }

    #[test]
    fn a_dropped_file_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let mut staged = Staged::create(&folder.path().join("file")).unwrap();
        staged.write_all(b"half").unwrap();
        drop(staged);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn what_cannot_be_written_says_where() {
        let folder = tempfile::tempdir().unwrap();
        let blocker = folder.path().join("file");
        write(&blocker, b"").unwrap();
        let error = write(&blocker.join("below"), b"").unwrap_err().to_string();
        assert!(
            error.contains("cannot create folder") && error.contains("file"),
            "{error}"
        );
    }

    #[test]
    fn rename_moves_the_content() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        write(&from, b"x").unwrap();
        rename(&from, &to).unwrap();
        assert_eq!(names(folder.path()), ["to"]);
    }
}
