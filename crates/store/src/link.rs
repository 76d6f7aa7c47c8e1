use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{SeekFrom as Extent, ioctl_ficlone, seek};
use rustix::io::Errno;

use crate::Error;

/// Gives a file that never changes a second name, which may be in another folder. Where that cannot
/// be (another file system, too many names, somebody else's file) there is a copy: one that shares its
/// blocks where the file system can do that, and one with the same holes elsewhere.
///
/// # Errors
/// `from` is no regular file, `to` exists, or the copy cannot be written.
pub fn link_or_copy(from: &Path, to: &Path) -> Result<(), Error> {
    // Not the symbolic link that may lead to it.
    let from = fs::canonicalize(from).map_err(|error| Error::io("find", from, error))?;
    if !from.is_file() {
        let not_a_file = io::Error::other("it is not a file");
        return Err(Error::io("link to", &from, not_a_file));
    }
    let refused = match fs::hard_link(&from, to) {
        Ok(()) => return Ok(()),
        Err(error) => error,
    };
    match refused.kind() {
        io::ErrorKind::CrossesDevices
        | io::ErrorKind::TooManyLinks
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::Unsupported => {}
        _ => return Err(Error::io("link", to, refused)),
    }
    let source = File::open(&from).map_err(|error| Error::io("open", &from, error))?;
    copy(source, to).map_err(|error| {
        let _ = fs::remove_file(to);
        Error::io("write", to, error)
    })
}

fn copy(mut from: File, to: &Path) -> io::Result<()> {
    let meta = from.metadata()?;
    let mut options = File::options();
    let mut to = options.write(true).create_new(true).mode(0o600).open(to)?;
    if ioctl_ficlone(&to, &from).is_err() {
        copy_extents(&mut from, &mut to, meta.len())?;
        to.set_len(meta.len())?;
    }
    to.set_permissions(meta.permissions())
}

/// Copies what is not a hole.
fn copy_extents(from: &mut File, to: &mut File, length: u64) -> io::Result<()> {
    let mut at = 0;
    while at < length {
        let data = match seek(&*from, Extent::Data(at)) {
            Err(Errno::NXIO) => break,
            // A file system that does not know its holes has none.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            result => result?,
        };
        let hole = seek(&*from, Extent::Hole(data)).unwrap_or(length);
        from.seek(SeekFrom::Start(data))?;
        to.seek(SeekFrom::Start(data))?;
        let copied = io::copy(&mut (&*from).take(hole - data), to)?;
        if copied == 0 {
            break;
        }
        at = data + copied;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, MetadataExt, symlink};

    #[test]
    fn a_link_is_the_file_itself_even_by_way_of_a_symbolic_one() {
        let folder = tempfile::tempdir().unwrap();
        let [file, alias, link] = ["file", "alias", "link"].map(|name| folder.path().join(name));
        fs::write(&file, "x").unwrap();
        symlink(&file, &alias).unwrap();
        link_or_copy(&alias, &link).unwrap();
        let inode = |path| fs::symlink_metadata(path).unwrap().ino();
        assert_eq!(inode(&file), inode(&link));
        assert!(link_or_copy(&file, &link).is_err());
        for bad in ["none", ""] {
            let new = folder.path().join("new");
            assert!(link_or_copy(&folder.path().join(bad), &new).is_err());
        }
    }

    #[test]
    fn a_copy_has_the_content_and_the_holes() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
        let source = File::create_new(&from).unwrap();
        source.set_len(64 << 20).unwrap();
        source.write_all_at(&[7; 10_000], 1 << 20).unwrap();
        source.write_all_at(&[8; 10_000], 40 << 20).unwrap();
        copy(File::open(&from).unwrap(), &to).unwrap();
        assert!(fs::read(&from).unwrap() == fs::read(&to).unwrap());
        let blocks = fs::metadata(&to).unwrap().blocks();
        assert!(blocks * 512 < 1 << 20, "{blocks}");
    }

    #[test]
    fn another_file_system_gets_a_copy() {
        let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else {
            println!("SKIPPED: there is no /dev/shm");
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let device = |path| fs::metadata(path).unwrap().dev();
        if device(folder.path()) == device(elsewhere.path()) {
            println!("SKIPPED: /dev/shm is no file system of its own");
            return;
        }
        let from = folder.path().join("from");
        let to = elsewhere.path().join("to");
        fs::write(&from, "content").unwrap();
        link_or_copy(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"content");
        assert!(link_or_copy(&from, &to).is_err());
        assert!(to.exists(), "what was there stays");
    }
}
