//! A file system made of an image's layers, one laid over the other (OCI Image Format
//! Specification 1.1, "Image Layer Filesystem Changeset").

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::ops::Bound;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use clade_ext4::{Builder, Kind, Metadata, Special};
use clade_store::{Sha256, Sha256Writer};
use tar::{Archive, Entry, EntryType};

use super::decompress::decompress;

/// A file of this name, with the name of another behind it, says that the other is gone.
const WHITEOUT: &str = ".wh.";
/// Says that what lower layers have in this folder is gone.
const OPAQUE: &str = ".wh..wh..opq";
/// Names that begin so are aufs's own.
const AUFS: &str = ".wh..wh.";
/// How archives write extended attributes.
const ATTRIBUTE: &str = "SCHILY.xattr.";
/// Most bytes of path and target in one entry.
const MAX_PATH: usize = 4096;
/// Most bytes of one extended attribute (Linux's `XATTR_SIZE_MAX`).
const MAX_ATTRIBUTE: usize = 64 << 10;

/// Lays the layer in `packed` over what `root` holds. Returns the checksum of the layer's archive.
///
/// Nothing in a layer reaches out of the image: paths with `..` are refused, links lead only to what
/// the image holds.
pub(crate) fn apply(root: &mut Builder, packed: impl Read) -> io::Result<Sha256> {
    let unpacked = decompress(io::BufReader::with_capacity(256 << 10, packed))?;
    let mut archive = Archive::new(Summed {
        input: unpacked,
        sum: Sha256Writer::new(io::sink()),
    });
    let mut layer = Layer {
        root,
        own: BTreeSet::new(),
    };
    for entry in archive.entries()? {
        layer.add(entry?)?;
    }
    // Only the end shows whether all was intact.
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink())?;
    Ok(rest.sum.finish().0)
}

/// Keeps the checksum of what is read.
struct Summed<R> {
    input: R,
    sum: Sha256Writer<io::Sink>,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.sum.write_all(&buffer[..count])?;
        Ok(count)
    }
}

/// A layer that is being applied.
struct Layer<'a> {
    root: &'a mut Builder,
    /// The paths of its entries so far: what it takes away was in lower layers.
    own: BTreeSet<PathBuf>,
}

impl Layer<'_> {
    fn add<R: Read>(&mut self, mut entry: Entry<'_, R>) -> io::Result<()> {
        let path = plain_path(&entry.path_bytes())?;
        if entry.header().entry_type() == EntryType::XGlobalHeader {
            return Ok(());
        }
        let name = path.file_name().unwrap_or_default();
        if let Some(gone) = name.as_bytes().strip_prefix(WHITEOUT.as_bytes()) {
            let folder = path.parent().unwrap_or(Path::new(""));
            return if name == OPAQUE {
                self.hide_below(folder)
            } else if name.as_bytes().starts_with(AUFS.as_bytes()) {
                Ok(())
            } else {
                self.hide(&folder.join(OsStr::from_bytes(gone)))
            };
        }
        let metadata = metadata(&mut entry)?;
        self.place(&path, &metadata, &mut entry)
            .map_err(|error| refused(&path, &error.to_string()))?;
        self.own.insert(path);
        Ok(())
    }

    fn place<R: Read>(
        &mut self,
        path: &Path,
        metadata: &Metadata,
        entry: &mut Entry<'_, R>,
    ) -> io::Result<()> {
        let root = &mut *self.root;
        let device = |entry: &Entry<'_, R>| {
            let header = entry.header();
            let number = |number: io::Result<Option<u32>>| Ok::<_, io::Error>(number?.unwrap_or(0));
            Ok::<_, io::Error>((
                number(header.device_major())?,
                number(header.device_minor())?,
            ))
        };
        match entry.header().entry_type() {
            EntryType::Directory => root.folder(path, metadata),
            _ if path.as_os_str().is_empty() => return Err(malformed("it has no name")),
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                root.file(path, metadata, &mut *entry).map(drop)
            }
            EntryType::Symlink => {
                let target = target_of(entry)?;
                root.symlink(path, metadata, OsStr::from_bytes(&target))
            }
            EntryType::Link => {
                let target = plain_path(&target_of(entry)?)?;
                root.hard_link(path, target)
            }
            EntryType::Char => {
                let (major, minor) = device(entry)?;
                root.special(path, metadata, Special::CharacterDevice { major, minor })
            }
            EntryType::Block => {
                let (major, minor) = device(entry)?;
                root.special(path, metadata, Special::BlockDevice { major, minor })
            }
            EntryType::Fifo => root.special(path, metadata, Special::Fifo),
            other => return Err(malformed(&format!("it is of the unknown kind {other:?}"))),
        }
        .map_err(io::Error::other)
    }

    /// Takes away what lower layers have at a path.
    fn hide(&mut self, path: &Path) -> io::Result<()> {
        if self.has_below(path) {
            return self.hide_below(path);
        }
        self.root.remove(path).map_err(io::Error::other)?;
        Ok(())
    }

    /// Takes away what lower layers have in a folder.
    fn hide_below(&mut self, folder: &Path) -> io::Result<()> {
        let names = self.root.names(folder).map_err(io::Error::other)?;
        for name in names.into_iter().flatten() {
            if folder.as_os_str().is_empty() && name.as_os_str() == "lost+found" {
                continue;
            }
            let path = folder.join(name);
            if !self.has_below(&path) {
                self.root.remove(&path).map_err(io::Error::other)?;
            } else if matches!(self.root.kind(&path), Ok(Some(Kind::Folder))) {
                self.hide_below(&path)?;
            }
        }
        Ok(())
    }

    /// Whether this layer has an entry at a path or below it.
    fn has_below(&self, path: &Path) -> bool {
        let next = self
            .own
            .range::<Path, _>((Bound::Included(path), Bound::Unbounded))
            .next();
        next.is_some_and(|next| next.starts_with(path))
    }
}

/// A path below the root, without `.` and slashes that mean nothing; `..` is refused.
fn plain_path(bytes: &[u8]) -> io::Result<PathBuf> {
    if bytes.len() > MAX_PATH {
        return Err(malformed("a path in it is longer than 4096 bytes"));
    }
    let given = Path::new(OsStr::from_bytes(bytes));
    let mut path = PathBuf::new();
    for component in given.components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => return Err(refused(given, "it leads out of the image")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(path)
}

fn target_of<R: Read>(entry: &Entry<'_, R>) -> io::Result<Vec<u8>> {
    let target = entry.link_name_bytes();
    let target = target.ok_or_else(|| malformed("it is a link to nothing"))?;
    if target.len() > MAX_PATH {
        return Err(malformed("it is a link to more than 4096 bytes"));
    }
    Ok(target.into_owned())
}

fn metadata<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<Metadata> {
    let attributes = attributes(entry)?;
    let header = entry.header();
    // An empty field is zero to all tools.
    let number = |number: io::Result<u64>| {
        u32::try_from(number.unwrap_or(0))
            .map_err(|_| malformed("an owner's number is larger than 32 bits"))
    };
    Ok(Metadata {
        permissions: (header.mode().unwrap_or(0) & 0o7777) as u16,
        user: number(header.uid())?,
        group: number(header.gid())?,
        modified: i64::try_from(header.mtime().unwrap_or(0)).unwrap_or(i64::MAX),
        attributes,
    })
}

fn attributes<R: Read>(entry: &mut Entry<'_, R>) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let mut attributes = BTreeMap::new();
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        // What is no text is no attribute that Linux knows.
        let name = extension
            .key()
            .ok()
            .and_then(|key| key.strip_prefix(ATTRIBUTE));
        if let Some(name) = name.filter(|name| is_kept(name)) {
            let value = extension.value_bytes();
            if value.len() > MAX_ATTRIBUTE {
                return Err(malformed("an attribute is larger than 64 KiB"));
            }
            attributes.insert(name.to_owned(), value.to_vec());
        }
    }
    Ok(attributes)
}

/// Whether an attribute goes into the file system as it is. `system.` ones do not: ext4 keeps access
/// control lists in another form than archives.
fn is_kept(name: &str) -> bool {
    ["user.", "trusted.", "security."].iter().any(|space| {
        name.strip_prefix(space)
            .is_some_and(|rest| !rest.is_empty())
    })
}

fn malformed(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn refused(path: &Path, reason: &str) -> io::Error {
    malformed(&format!("{}: {reason}", path.display()))
}

#[cfg(test)]
mod tests;
