use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::blocks::Blocks;
use crate::checksum::Seed;
use crate::extent::{self, Extent};
use crate::geometry::{BLOCK_SIZE, Geometry};
use crate::inode::{InodeTable, Stored};
use crate::tree::{Content, Kind, Metadata, Place, ROOT, Special, Tree};
use crate::{directory, inode, journal, superblock};

/// Read and written at once, and the smallest run of zeros that becomes a hole, in bytes.
const CHUNK: usize = 16 * BLOCK_SIZE;
/// Largest file, in bytes: block numbers within a file have 32 bits.
const MAX_FILE: u64 = (1 << 32) * BLOCK_SIZE as u64 - 1;
/// Longest target of a symbolic link, in bytes.
const MAX_TARGET: usize = BLOCK_SIZE - 1;

/// What a new file system is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Bytes, from 16 MiB to 16 TiB. The image file takes only what is written to it.
    pub size: u64,
    /// Tells this file system from others; also mixed into its checksums. Random, as a rule.
    pub uuid: [u8; 16],
    /// For people and for `/dev/disk/by-label`: up to 16 bytes, further ones are cut off.
    pub label: String,
    /// When it is made, in seconds since 1970.
    pub created: i64,
}

impl Default for Options {
    /// 16 GiB, no label, and the same UUID and date for all.
    fn default() -> Self {
        Self {
            size: 16 << 30,
            uuid: *b"clade file syst\0",
            label: String::new(),
            created: 0,
        }
    }
}

/// A file system on its way into an image file.
///
/// Paths are those inside the image, with or without a slash in front. Of an entry that is added,
/// - folders on the way that are missing are made, with mode 0755 and owned by root;
/// - symbolic links on the way are followed, and never lead out of the image; `..` is refused;
/// - what stands at the path itself is replaced, with all below it; but a folder that is added where
///   one is keeps what it holds, and gets the new metadata.
///
/// The same calls make the same image. After an error the image is of no use.
#[derive(Debug)]
pub struct Builder {
    options: Options,
    geometry: Geometry,
    blocks: Blocks,
    tree: Tree,
    journal: Vec<Extent>,
}

impl Builder {
    /// Begins a file system in `file`, which must be open for reading and writing. What was in it is lost.
    ///
    /// # Errors
    /// [`Error::Size`], or the file cannot be written.
    pub fn new(file: File, options: &Options) -> Result<Self, Error> {
        let geometry = Geometry::new(options.size)?;
        let mut blocks = Blocks::new(file, &geometry, options.size)?;
        let journal = journal::create(&mut blocks)?;
        let root = Metadata {
            modified: options.created,
            ..Metadata::folder()
        };
        let mut tree = Tree::new(&geometry, root.clone());
        // e2fsck looks for it, and it is the first inode that is not special.
        let place = Place {
            folder: ROOT,
            name: b"lost+found".to_vec(),
        };
        let private = Metadata {
            permissions: 0o700,
            ..root
        };
        tree.add_folder(place, private)?;
        Ok(Self {
            options: options.clone(),
            geometry,
            blocks,
            tree,
            journal,
        })
    }

    /// Adds a folder, or gives one that is there other metadata. The path may be that of the root.
    ///
    /// # Errors
    /// [`Error::Path`]; [`Error::Full`].
    pub fn folder(&mut self, path: impl AsRef<Path>, metadata: &Metadata) -> Result<(), Error> {
        let path = path.as_ref();
        let there = self.find(path)?;
        if let Some(number) = there
            && matches!(self.tree.node(number).content, Content::Folder(_))
        {
            self.tree.node_mut(number).metadata = metadata.clone();
            return Ok(());
        }
        let place = self.vacate(path)?;
        self.tree.add_folder(place, metadata.clone())?;
        Ok(())
    }

    /// Adds a regular file; long runs of zeros in its content become holes. Gives its size in bytes.
    ///
    /// # Errors
    /// [`Error::Path`]; [`Error::Full`]; [`Error::Content`]; the image cannot be written.
    pub fn file(
        &mut self,
        path: impl AsRef<Path>,
        metadata: &Metadata,
        mut content: impl Read,
    ) -> Result<u64, Error> {
        let path = path.as_ref();
        let place = self.vacate(path)?;
        let (size, extents) = self.store(path, &mut content)?;
        let content = Content::File { size, extents };
        self.tree.add(place, metadata.clone(), content)?;
        Ok(size)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// [`Error::Path`]; [`Error::Full`]; [`Error::Unsupported`] for a target that is empty, has zero
    /// bytes or is longer than 4095 bytes.
    pub fn symlink(
        &mut self,
        path: impl AsRef<Path>,
        metadata: &Metadata,
        target: impl AsRef<Path>,
    ) -> Result<(), Error> {
        let path = path.as_ref();
        let target = target.as_ref().as_os_str().as_bytes();
        if target.is_empty() || target.len() > MAX_TARGET || target.contains(&0) {
            let reason = "the target of a symbolic link has 1 to 4095 bytes, none of them zero";
            return Err(Error::unsupported(path, reason));
        }
        let place = self.vacate(path)?;
        let content = Content::Symlink(target.to_vec());
        self.tree.add(place, metadata.clone(), content)?;
        Ok(())
    }

    /// Gives an entry that is there, and no folder, another name.
    ///
    /// # Errors
    /// [`Error::Missing`] when nothing stands at `existing`; [`Error::Path`]; [`Error::Unsupported`]
    /// beyond 65000 names.
    pub fn hard_link(
        &mut self,
        path: impl AsRef<Path>,
        existing: impl AsRef<Path>,
    ) -> Result<(), Error> {
        let (path, existing) = (path.as_ref(), existing.as_ref());
        let missing = || Error::Missing {
            path: existing.to_owned(),
        };
        let number = self.find(existing)?.ok_or_else(missing)?;
        if self.find(path)? == Some(number) {
            return Ok(());
        }
        let place = self.vacate(path)?;
        // It may have stood below what was just replaced.
        if !self.tree.nodes.contains_key(&number) {
            return Err(missing());
        }
        self.tree.link(path, place, number)
    }

    /// Adds a device, pipe or socket.
    ///
    /// # Errors
    /// [`Error::Path`]; [`Error::Full`]; [`Error::Unsupported`] for device numbers beyond Linux's.
    pub fn special(
        &mut self,
        path: impl AsRef<Path>,
        metadata: &Metadata,
        special: Special,
    ) -> Result<(), Error> {
        let path = path.as_ref();
        if let Special::CharacterDevice { major, minor } | Special::BlockDevice { major, minor } =
            special
            && (major >= 1 << 12 || minor >= 1 << 20)
        {
            let reason = format!("there is no device {major}:{minor}");
            return Err(Error::unsupported(path, reason));
        }
        let place = self.vacate(path)?;
        self.tree
            .add(place, metadata.clone(), Content::Special(special))?;
        Ok(())
    }

    /// Removes an entry, with all below it; whether there was one.
    ///
    /// # Errors
    /// [`Error::Path`]; the image cannot be written.
    pub fn remove(&mut self, path: impl AsRef<Path>) -> Result<bool, Error> {
        let Some(place) = self.tree.place(path.as_ref(), None)? else {
            return Ok(false);
        };
        let there = self.tree.find(&place).is_some();
        self.remove_at(&place)?;
        Ok(there)
    }

    /// What stands at a path, if anything; a symbolic link is not followed.
    ///
    /// # Errors
    /// [`Error::Path`].
    pub fn kind(&mut self, path: impl AsRef<Path>) -> Result<Option<Kind>, Error> {
        let Some(number) = self.find(path.as_ref())? else {
            return Ok(None);
        };
        Ok(Some(match &self.tree.node(number).content {
            Content::File { size, .. } => Kind::File { size: *size },
            Content::Folder(_) => Kind::Folder,
            Content::Symlink(target) => Kind::Symlink {
                target: PathBuf::from(std::ffi::OsStr::from_bytes(target)),
            },
            Content::Special(special) => Kind::Special(*special),
        }))
    }

    /// The names in a folder, in order; `None` if there is no folder at this path.
    ///
    /// # Errors
    /// [`Error::Path`].
    pub fn names(&mut self, path: impl AsRef<Path>) -> Result<Option<Vec<PathBuf>>, Error> {
        let Some(number) = self.find(path.as_ref())? else {
            return Ok(None);
        };
        let Content::Folder(folder) = &self.tree.node(number).content else {
            return Ok(None);
        };
        let name = |name: &Vec<u8>| PathBuf::from(std::ffi::OsStr::from_bytes(name));
        Ok(Some(folder.entries.keys().map(name).collect()))
    }

    /// The content of a regular file of at most `limit` bytes; `None` if there is none at this path
    /// or a larger one.
    ///
    /// # Errors
    /// [`Error::Path`]; the image cannot be read back.
    pub fn read(&mut self, path: impl AsRef<Path>, limit: usize) -> Result<Option<Vec<u8>>, Error> {
        let Some(number) = self.find(path.as_ref())? else {
            return Ok(None);
        };
        let Content::File { size, extents } = &self.tree.node(number).content else {
            return Ok(None);
        };
        let Some(size) = usize::try_from(*size).ok().filter(|size| *size <= limit) else {
            return Ok(None);
        };
        let mut content = vec![0; size.next_multiple_of(BLOCK_SIZE)];
        for extent in extents {
            let start = extent.logical as usize * BLOCK_SIZE;
            let end = start + extent.length as usize * BLOCK_SIZE;
            self.blocks
                .read(extent.physical, &mut content[start..end])?;
        }
        content.truncate(size);
        Ok(Some(content))
    }

    /// Bytes that are left for content.
    pub fn free(&self) -> u64 {
        self.blocks.free() * BLOCK_SIZE as u64
    }

    /// Writes the tree and all structures, and gives the file back. It is not synced.
    ///
    /// # Errors
    /// [`Error::Full`]; [`Error::Unsupported`] for attributes that do not fit; the image cannot be
    /// written.
    pub fn finish(mut self) -> Result<File, Error> {
        let seed = Seed::new(&self.options.uuid);
        let mut table = InodeTable::new(&self.geometry, seed);
        table.add_journal(&self.journal, self.options.created, &mut self.blocks)?;
        for (&number, node) in &self.tree.nodes {
            let (extents, size) = match &node.content {
                Content::File { size, extents } => (extents.clone(), *size),
                Content::Folder(folder) => {
                    let content = directory::content(&self.tree, number, folder, seed);
                    let extents = write_whole(&mut self.blocks, &content)?;
                    (extents, content.len() as u64)
                }
                Content::Symlink(target) if target.len() >= inode::INLINE => {
                    let extents = write_whole(&mut self.blocks, target)?;
                    (extents, target.len() as u64)
                }
                Content::Symlink(target) => (Vec::new(), target.len() as u64),
                Content::Special(_) => (Vec::new(), 0),
            };
            let content = Stored {
                extents: &extents,
                size,
                links: self.tree.links(node),
            };
            table.add(number, node, &content, &mut self.blocks)?;
        }
        superblock::write(
            &self.options,
            &self.geometry,
            &self.blocks,
            seed,
            &table.finish(&self.blocks)?,
        )?;
        Ok(self.blocks.into_file())
    }

    fn find(&mut self, path: &Path) -> Result<Option<u32>, Error> {
        if is_root(path) {
            return Ok(Some(ROOT));
        }
        let place = self.tree.place(path, None)?;
        Ok(place.and_then(|place| self.tree.find(&place)))
    }

    /// Makes a path free for a new entry.
    fn vacate(&mut self, path: &Path) -> Result<Place, Error> {
        let folders = Metadata {
            modified: self.options.created,
            ..Metadata::folder()
        };
        let place = self
            .tree
            .place(path, Some(&folders))?
            .ok_or(Error::path(path, "its folder cannot be made"))?;
        self.remove_at(&place)?;
        Ok(place)
    }

    fn remove_at(&mut self, place: &Place) -> Result<(), Error> {
        for extent in self.tree.remove(place) {
            self.blocks.release(extent.blocks())?;
        }
        Ok(())
    }

    fn store(&mut self, path: &Path, content: &mut dyn Read) -> Result<(u64, Vec<Extent>), Error> {
        let mut chunk = vec![0; CHUNK];
        let mut extents = Vec::new();
        let mut size = 0;
        loop {
            let length = read_full(content, &mut chunk).map_err(|source| Error::Content {
                path: path.to_owned(),
                source,
            })?;
            if size + length as u64 > MAX_FILE {
                return Err(Error::unsupported(path, "it is larger than 16 TiB"));
            }
            let is_hole = length == CHUNK && chunk.iter().all(|&byte| byte == 0);
            if !is_hole {
                let first = (size / BLOCK_SIZE as u64) as u32;
                write_blocks(&mut self.blocks, &mut extents, first, &chunk[..length])?;
            }
            size += length as u64;
            if length < CHUNK {
                return Ok((size, extents));
            }
        }
    }
}

fn is_root(path: &Path) -> bool {
    path.components().all(|part| {
        matches!(
            part,
            std::path::Component::RootDir | std::path::Component::CurDir
        )
    })
}

fn write_whole(blocks: &mut Blocks, content: &[u8]) -> Result<Vec<Extent>, Error> {
    let mut extents = Vec::new();
    write_blocks(blocks, &mut extents, 0, content)?;
    Ok(extents)
}

/// Puts content into newly allocated blocks, the file's block `first` and those after it.
fn write_blocks(
    blocks: &mut Blocks,
    extents: &mut Vec<Extent>,
    first: u32,
    mut content: &[u8],
) -> Result<(), Error> {
    let mut logical = first;
    while !content.is_empty() {
        let taken = blocks.allocate(content.len().div_ceil(BLOCK_SIZE) as u64)?;
        let count = taken.end - taken.start;
        let (now, later) = content.split_at(content.len().min(count as usize * BLOCK_SIZE));
        blocks.write(taken.start, now)?;
        extent::append(extents, logical, taken);
        logical += count as u32;
        content = later;
    }
    Ok(())
}

/// Fills the buffer, or reads up to the end.
fn read_full(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match input.read(&mut buffer[length..]) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}
