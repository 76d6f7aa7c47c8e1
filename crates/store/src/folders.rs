use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::Error;

/// Where this user's files go, after the XDG Base Directory Specification 0.8.
///
/// A variable that is unset, empty or not an absolute path counts as unset, as the specification
/// asks. No folder is created until something is written, except the runtime folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    cache: PathBuf,
    data: PathBuf,
    config: PathBuf,
    runtime: Option<PathBuf>,
}

impl Folders {
    /// The folders of the user who runs this process.
    ///
    /// # Errors
    /// [`Error::NoHome`] when nothing says where to keep files.
    pub fn of_user() -> Result<Self, Error> {
        Self::from_variables(env::home_dir(), |name| env::var_os(name))
    }

    fn from_variables(
        home: Option<PathBuf>,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Error> {
        let absolute = |name| {
            variable(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        let home = home.filter(|path| path.is_absolute());
        let folder = |name: &'static str, below_home: &str| {
            absolute(name)
                .or_else(|| home.as_ref().map(|home| home.join(below_home)))
                .map(|base| base.join("clade"))
                .ok_or(Error::NoHome { variable: name })
        };
        Ok(Self {
            cache: folder("XDG_CACHE_HOME", ".cache")?,
            data: folder("XDG_DATA_HOME", ".local/share")?,
            config: folder("XDG_CONFIG_HOME", ".config")?,
            runtime: absolute("XDG_RUNTIME_DIR"),
        })
    }

    /// What can be fetched or computed again: `$XDG_CACHE_HOME/clade` or `~/.cache/clade`.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// What cannot: `$XDG_DATA_HOME/clade` or `~/.local/share/clade`.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// What the user wrote: `$XDG_CONFIG_HOME/clade` or `~/.config/clade`.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Sockets and the like, gone after a reboot: `$XDG_RUNTIME_DIR/clade`, or `/tmp/clade-UID`
    /// where there is none. Created if missing, with mode 0700.
    ///
    /// An `XDG_RUNTIME_DIR` of another user (as `sudo -E` leaves behind) is not used.
    ///
    /// # Errors
    /// The folder cannot be created, or is not this user's alone.
    pub fn runtime(&self) -> Result<PathBuf, Error> {
        let uid = rustix::process::geteuid().as_raw();
        let given = self
            .runtime
            .as_ref()
            .filter(|path| fs::metadata(path).is_ok_and(|meta| meta.is_dir() && meta.uid() == uid));
        let path = match given {
            Some(base) => base.join("clade"),
            None => PathBuf::from(format!("/tmp/clade-{uid}")),
        };
        private_folder(&path)?;
        Ok(path)
    }
}

/// Makes sure that `path` is a folder that only this user can enter, creating it if missing.
///
/// # Errors
/// [`Error::Unsafe`] when something else stands there: a file, a symbolic link, a folder of another
/// user, or one that others may read or write.
pub fn private_folder(path: &Path) -> Result<(), Error> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Error::io("create folder", path, error));
        }
        _ => {}
    }
    // Not metadata(): in a folder that all can write to, a link may be someone else's trap.
    let meta = fs::symlink_metadata(path).map_err(|error| Error::io("inspect", path, error))?;
    let uid = rustix::process::geteuid().as_raw();
    let reason = if !meta.is_dir() {
        "it is not a folder".to_owned()
    } else if meta.uid() != uid {
        format!("it belongs to user {}, not to user {uid}", meta.uid())
    } else if meta.mode() & 0o077 != 0 {
        format!("its mode {:o} lets others in", meta.mode() & 0o777)
    } else {
        return Ok(());
    };
    Err(Error::Unsafe {
        path: path.to_owned(),
        reason,
    })
}

/// Bytes that this user can still write to the file system that holds `path` or, where `path` does
/// not exist yet, its nearest existing ancestor.
///
/// # Errors
/// The file system cannot be asked.
pub fn free_space(path: &Path) -> Result<u64, Error> {
    let existing = path
        .ancestors()
        .find(|path| path.exists())
        .unwrap_or(Path::new("."));
    let stat = rustix::fs::statvfs(existing)
        .map_err(|error| Error::io("ask for the free space of", existing, error.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn folders(home: Option<&str>, variables: &[(&str, &str)]) -> Result<Folders, Error> {
        Folders::from_variables(home.map(PathBuf::from), |name| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.into())
        })
    }

    #[test]
    fn defaults_stand_below_home() {
        let folders = folders(Some("/home/u"), &[]).unwrap();
        assert_eq!(folders.cache(), Path::new("/home/u/.cache/clade"));
        assert_eq!(folders.data(), Path::new("/home/u/.local/share/clade"));
        assert_eq!(folders.config(), Path::new("/home/u/.config/clade"));
    }

    #[test]
    fn variables_win_unless_empty_or_relative() {
        let variables = [
            ("XDG_CACHE_HOME", "/c"),
            ("XDG_DATA_HOME", "rel"),
            ("XDG_CONFIG_HOME", ""),
        ];
        let folders = folders(Some("/home/u"), &variables).unwrap();
        assert_eq!(folders.cache(), Path::new("/c/clade"));
        assert_eq!(folders.data(), Path::new("/home/u/.local/share/clade"));
        assert_eq!(folders.config(), Path::new("/home/u/.config/clade"));
    }

    #[test]
    fn no_home_names_the_variable_to_set() {
        let error = folders(None, &[("XDG_CACHE_HOME", "/c")]).unwrap_err();
        assert!(error.to_string().contains("XDG_DATA_HOME"), "{error}");
    }

    #[test]
    fn the_runtime_folder_is_private_and_reused() {
        let base = tempfile::tempdir().unwrap();
        let base_text = base.path().to_str().unwrap();
        let folders = folders(Some("/home/u"), &[("XDG_RUNTIME_DIR", base_text)]).unwrap();
        let runtime = folders.runtime().unwrap();
        assert_eq!(runtime, base.path().join("clade"));
        assert_eq!(fs::metadata(&runtime).unwrap().mode() & 0o777, 0o700);
        assert_eq!(folders.runtime().unwrap(), runtime);
    }

    #[test]
    fn what_is_not_a_private_folder_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let open = base.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        let file = base.path().join("file");
        fs::write(&file, "").unwrap();
        let private = base.path().join("private");
        private_folder(&private).unwrap();
        let link = base.path().join("link");
        symlink(&private, &link).unwrap();
        for path in [open, file, link] {
            let error = private_folder(&path).unwrap_err();
            assert!(matches!(error, Error::Unsafe { .. }), "{error}");
        }
    }

    #[test]
    fn free_space_is_known_for_a_folder_that_is_still_to_come() {
        let base = tempfile::tempdir().unwrap();
        assert!(free_space(&base.path().join("a/b/c")).unwrap() > 0);
    }
}
