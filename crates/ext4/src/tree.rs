//! The tree of an image in memory: inodes, and the names that lead to them.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::Error;
use crate::extent::Extent;
use crate::geometry::Geometry;

pub(crate) const ROOT: u32 = 2;
/// Inodes before it have a meaning of their own ("Special inodes").
pub(crate) const FIRST_INODE: u32 = 11;
/// Longest name in a folder, in bytes.
const MAX_NAME: usize = 255;
/// Symbolic links that one path may lead through, as in Linux.
const MAX_LINKS: usize = 40;
/// Names that a file may have; a kernel allows some more.
const MAX_NAMES: u16 = 65000;

/// Who owns an entry, who may use it, and when it was last written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// Permission bits, as in `chmod`; others are ignored. Symbolic links have all, whatever stands here.
    pub permissions: u16,
    /// The owner's number.
    pub user: u32,
    /// The group's number.
    pub group: u32,
    /// Seconds since 1970; from 1901 to 2446 can be kept, what is beyond becomes the nearest.
    pub modified: i64,
    /// Extended attributes by their full names: `user.`, `trusted.`, `security.` or `system.` with
    /// something behind; all of them together with their names have to fit into a block.
    pub attributes: BTreeMap<String, Vec<u8>>,
}

impl Metadata {
    /// Owned by root, read by all.
    pub fn file() -> Self {
        Self {
            permissions: 0o644,
            ..Self::default()
        }
    }

    /// Owned by root, read and executed by all.
    pub fn program() -> Self {
        Self::folder()
    }

    /// Owned by root, open to all.
    pub fn folder() -> Self {
        Self {
            permissions: 0o755,
            ..Self::default()
        }
    }
}

/// An entry that is neither file, folder nor link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// A character device.
    CharacterDevice {
        /// Up to 4095.
        major: u32,
        /// Up to 2^20 - 1.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Up to 4095.
        major: u32,
        /// Up to 2^20 - 1.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// The name of a socket.
    Socket,
}

/// What an entry of an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Bytes.
        size: u64,
    },
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink {
        /// As written.
        target: PathBuf,
    },
    /// A device, pipe or socket.
    Special(Special),
}

#[derive(Debug)]
pub(crate) enum Content {
    File { size: u64, extents: Vec<Extent> },
    Folder(Folder),
    Symlink(Vec<u8>),
    Special(Special),
}

#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) parent: u32,
    pub(crate) entries: BTreeMap<Vec<u8>, u32>,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) metadata: Metadata,
    pub(crate) content: Content,
    /// How many names it has. A folder's count is made from its entries.
    pub(crate) names: u16,
}

/// Where a path leads: the folder that holds, or would hold, its last name.
pub(crate) struct Place {
    pub(crate) folder: u32,
    pub(crate) name: Vec<u8>,
}

/// All inodes by number. What the root does not lead to is not there.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) nodes: BTreeMap<u32, Node>,
    next: u32,
    inodes: u64,
}

impl Tree {
    /// An empty root.
    pub(crate) fn new(geometry: &Geometry, metadata: Metadata) -> Self {
        let root = Node {
            metadata,
            content: Content::Folder(Folder {
                parent: ROOT,
                entries: BTreeMap::new(),
            }),
            names: 1,
        };
        Self {
            nodes: BTreeMap::from([(ROOT, root)]),
            next: FIRST_INODE,
            inodes: geometry.inodes(),
        }
    }

    /// Adds an entry, which must not be there.
    pub(crate) fn add(
        &mut self,
        place: Place,
        metadata: Metadata,
        content: Content,
    ) -> Result<u32, Error> {
        if u64::from(self.next) > self.inodes {
            return Err(Error::Full { what: "inode" });
        }
        let number = self.next;
        self.next += 1;
        let node = Node {
            metadata,
            content,
            names: 1,
        };
        self.nodes.insert(number, node);
        self.entries_mut(place.folder).insert(place.name, number);
        Ok(number)
    }

    /// Gives an inode another name.
    pub(crate) fn link(&mut self, path: &Path, place: Place, number: u32) -> Result<(), Error> {
        let node = self.node_mut(number);
        if matches!(node.content, Content::Folder(_)) {
            return Err(Error::path(path, "a folder has one name only"));
        }
        if node.names == MAX_NAMES {
            return Err(Error::unsupported(path, "it has 65000 names already"));
        }
        node.names += 1;
        self.entries_mut(place.folder).insert(place.name, number);
        Ok(())
    }

    /// Takes an entry out, with all below it; gives back the blocks that nothing uses any more.
    pub(crate) fn remove(&mut self, place: &Place) -> Vec<Extent> {
        let mut freed = Vec::new();
        let mut unlinked: Vec<u32> = self
            .entries_mut(place.folder)
            .remove(&place.name)
            .into_iter()
            .collect();
        while let Some(number) = unlinked.pop() {
            let node = self.node_mut(number);
            node.names -= 1;
            if node.names == 0
                && let Some(node) = self.nodes.remove(&number)
            {
                match node.content {
                    Content::File { extents, .. } => freed.extend(extents),
                    Content::Folder(folder) => unlinked.extend(folder.entries.into_values()),
                    Content::Symlink(_) | Content::Special(_) => {}
                }
            }
        }
        freed
    }

    /// What an inode's link count says. A folder is named by its parent, itself and its subfolders;
    /// 1 means more than can be counted (`dir_nlink`).
    pub(crate) fn links(&self, node: &Node) -> u16 {
        let Content::Folder(folder) = &node.content else {
            return node.names;
        };
        let is_folder = |number: &&u32| matches!(self.node(**number).content, Content::Folder(_));
        let subfolders = folder.entries.values().filter(is_folder);
        let count = 2 + subfolders.count();
        u16::try_from(count)
            .ok()
            .filter(|&count| count < MAX_NAMES)
            .unwrap_or(1)
    }

    pub(crate) fn find(&self, place: &Place) -> Option<u32> {
        self.folder(place.folder)?.entries.get(&place.name).copied()
    }

    pub(crate) fn node(&self, number: u32) -> &Node {
        &self.nodes[&number]
    }

    pub(crate) fn node_mut(&mut self, number: u32) -> &mut Node {
        self.nodes
            .get_mut(&number)
            .expect("names lead to inodes that are there")
    }

    fn folder(&self, number: u32) -> Option<&Folder> {
        match &self.node(number).content {
            Content::Folder(folder) => Some(folder),
            _ => None,
        }
    }

    fn entries_mut(&mut self, number: u32) -> &mut BTreeMap<Vec<u8>, u32> {
        match &mut self.node_mut(number).content {
            Content::Folder(folder) => &mut folder.entries,
            _ => unreachable!("a place is in a folder"),
        }
    }

    /// Follows a path to where its last name stands, through symbolic links on the way, which never
    /// lead out of the image. The last name itself is not followed. Folders that are missing are added
    /// if `missing` says how.
    pub(crate) fn place(
        &mut self,
        path: &Path,
        missing: Option<&Metadata>,
    ) -> Result<Option<Place>, Error> {
        let mut names = plain_names(path)?;
        let name = names.pop().ok_or(Error::path(path, "it has no name"))?;
        names.reverse();
        let mut folder = ROOT;
        let mut links = 0;
        while let Some(step) = names.pop() {
            if step == b".." {
                folder = self.folder(folder).map_or(ROOT, |folder| folder.parent);
                continue;
            }
            let place = Place { folder, name: step };
            let next = match (self.find(&place), missing) {
                (Some(next), _) => next,
                (None, Some(metadata)) => self.add_folder(place, metadata.clone())?,
                (None, None) => return Ok(None),
            };
            match &self.node(next).content {
                Content::Folder(_) => folder = next,
                Content::Symlink(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Error::path(path, "its links lead in a circle"));
                    }
                    let target = Path::new(std::ffi::OsStr::from_bytes(target));
                    if target.is_absolute() {
                        folder = ROOT;
                    }
                    names.extend(link_names(target).into_iter().rev());
                }
                _ => return Err(Error::path(path, "it leads through what is no folder")),
            }
        }
        Ok(Some(Place { folder, name }))
    }

    pub(crate) fn add_folder(&mut self, place: Place, metadata: Metadata) -> Result<u32, Error> {
        let content = Content::Folder(Folder {
            parent: place.folder,
            entries: BTreeMap::new(),
        });
        self.add(place, metadata, content)
    }
}

/// The names of a path that an entry is added under: from the root, with or without a slash.
fn plain_names(path: &Path) -> Result<Vec<Vec<u8>>, Error> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) if name.len() > MAX_NAME => {
                return Err(Error::path(path, "a name is longer than 255 bytes"));
            }
            Component::Normal(name) if name.as_bytes().contains(&0) => {
                return Err(Error::path(path, "a name has a zero byte"));
            }
            Component::Normal(name) => names.push(name.as_bytes().to_vec()),
            Component::ParentDir => return Err(Error::path(path, "it has \"..\" in it")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    Ok(names)
}

/// The steps of a symbolic link's target.
fn link_names(target: &Path) -> Vec<Vec<u8>> {
    let name = |component| match component {
        Component::Normal(name) => Some(name.as_bytes().to_vec()),
        Component::ParentDir => Some(b"..".to_vec()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    target.components().filter_map(name).collect()
}
