//! Files to a guest and from it, as tar archives over a command's streams.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What a file or folder on this host becomes in an archive.
#[derive(Debug)]
pub(crate) struct Packing {
    /// Paths on this host, and in the archive; a folder before what is in it.
    entries: Vec<(PathBuf, PathBuf)>,
    /// Bytes of content.
    pub(crate) total: u64,
}

impl Packing {
    /// Looks at what there is at `source`. It will be called `name`; the files of a folder lie
    /// below that.
    ///
    /// # Errors
    /// When something there cannot be looked at.
    pub(crate) fn survey(source: &Path, name: &Path) -> io::Result<Self> {
        let mut packing = Packing {
            entries: Vec::new(),
            total: 0,
        };
        packing.add(source.to_owned(), name.to_owned())?;
        Ok(packing)
    }

    fn add(&mut self, path: PathBuf, name: PathBuf) -> io::Result<()> {
        let found = fs::symlink_metadata(&path).map_err(|error| naming(&path, &error))?;
        // Nobody can connect to a copy of a socket.
        if found.file_type().is_socket() {
            return Ok(());
        }
        if found.is_file() {
            self.total += found.size();
        }
        self.entries.push((path.clone(), name.clone()));
        if found.is_dir() {
            let mut inside = fs::read_dir(&path)
                .and_then(Iterator::collect::<io::Result<Vec<_>>>)
                .map_err(|error| naming(&path, &error))?;
            inside.sort_by_key(fs::DirEntry::file_name);
            for entry in inside {
                self.add(entry.path(), name.join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    /// Writes the archive, with owners and modes as they are here.
    ///
    /// # Errors
    /// When something cannot be read, or the archive not be written.
    pub(crate) fn write(&self, archive: impl Write) -> io::Result<()> {
        let mut archive = tar::Builder::new(archive);
        archive.follow_symlinks(false);
        // Busybox does not know of holes.
        archive.sparse(false);
        for (path, name) in &self.entries {
            archive
                .append_path_with_name(path, name)
                .map_err(|error| naming(path, &error))?;
        }
        archive.into_inner()?.flush()
    }
}

/// What was made of an archive.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unpacked {
    /// Files, folders and links.
    pub(crate) count: u64,
    /// Devices and pipes, which are left out.
    pub(crate) left_out: u64,
}

/// Takes what a guest sends: nothing that it says leads out of `folder`. Owners are kept if this is
/// root.
///
/// # Errors
/// When the archive is not one, would leave the folder, or something cannot be written.
pub(crate) fn unpack(archive: impl Read, folder: &Path) -> io::Result<Unpacked> {
    let mut archive = tar::Archive::new(archive);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(rustix::process::geteuid().is_root());
    archive.set_overwrite(true);
    let mut unpacked = Unpacked::default();
    let mut folders = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        if kind.is_fifo() || kind.is_character_special() || kind.is_block_special() {
            unpacked.left_out += 1;
            continue;
        }
        unpacked.count += 1;
        // Last, for it may not be one that can be written to.
        if kind.is_dir() {
            folders.push(entry);
        } else {
            take(&mut entry, folder)?;
        }
    }
    // What is within before what it is in.
    for entry in folders.iter_mut().rev() {
        take(entry, folder)?;
    }
    Ok(unpacked)
}

fn take<R: Read>(entry: &mut tar::Entry<'_, R>, folder: &Path) -> io::Result<()> {
    if entry.unpack_in(folder)? {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "the guest sends '{}', which is not below what was asked for",
        entry.path()?.display()
    )))
}

/// An error that says what it is about.
fn naming(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn archive_of(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            let data = if kind.is_file() {
                content.as_bytes()
            } else {
                header.set_link_name_literal(content).unwrap();
                &[]
            };
            header.set_size(data.len() as u64);
            // As a hostile guest writes it: the crate itself refuses such names.
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_cksum();
            archive.append(&header, data).unwrap();
        }
        archive.into_inner().unwrap()
    }

    #[test]
    fn a_tree_comes_out_as_it_went_in() {
        let home = tempfile::tempdir().unwrap();
        let from = home.path().join("from");
        fs::create_dir_all(from.join("a/b")).unwrap();
        let mode = |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode));
        fs::write(from.join("a/file"), vec![7; 100_000]).unwrap();
        fs::write(from.join("a/b").join("n".repeat(200)), "").unwrap();
        mode(&from.join("a/file"), 0o4711).unwrap();
        symlink("../nowhere", from.join("link")).unwrap();
        mode(&from.join("a"), 0o500).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
        let packing = Packing::survey(&from, Path::new("to")).unwrap();
        assert_eq!(packing.total, 100_000);
        let mut archive = Vec::new();
        packing.write(&mut archive).unwrap();
        let unpacked = unpack(&archive[..], home.path()).unwrap();
        assert_eq!((unpacked.count, unpacked.left_out), (6, 0));
        let to = home.path().join("to");
        let mode_of = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        assert_eq!(mode_of(&to.join("a")), 0o500);
        assert_eq!(mode_of(&to.join("a/file")), 0o4711);
        assert_eq!(fs::read(to.join("a/file")).unwrap(), vec![7; 100_000]);
        assert!(to.join("a/b").join("n".repeat(200)).exists());
        assert_eq!(
            fs::read_link(to.join("link")).unwrap(),
            Path::new("../nowhere")
        );
        mode(&from.join("a"), 0o700).unwrap();
        mode(&to.join("a"), 0o700).unwrap();
    }

    #[test]
    fn nothing_leads_out_of_the_folder() {
        use tar::EntryType::{Link, Regular, Symlink};
        let home = tempfile::tempdir().unwrap();
        let inside = home.path().join("inside");
        fs::create_dir(&inside).unwrap();
        fs::write(home.path().join("mine"), "mine").unwrap();
        let outside = home.path().to_str().unwrap().to_owned();
        for entries in [
            vec![("../mine", Regular, "theirs")],
            vec![("a/../../mine", Regular, "theirs")],
            vec![("up", Symlink, ".."), ("up/mine", Regular, "theirs")],
            vec![
                ("out", Symlink, outside.as_str()),
                ("out/mine", Regular, "theirs"),
            ],
            vec![("hard", Link, "../mine"), ("hard", Regular, "theirs")],
        ] {
            let result = unpack(&archive_of(&entries)[..], &inside);
            assert!(result.is_err(), "{entries:?}");
            assert_eq!(fs::read(home.path().join("mine")).unwrap(), b"mine");
        }
        // An absolute path is taken as one below.
        unpack(&archive_of(&[("/etc/x", Regular, "x")])[..], &inside).unwrap();
        assert_eq!(fs::read(inside.join("etc/x")).unwrap(), b"x");
    }
}
