//! The files that the guest knows.

use std::collections::{HashMap, VecDeque};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use fuse_abi::linux::FUSE_ROOT_ID;
use rustix::fs::Statx;
use rustix::io::Errno;

use crate::attributes::device;
use crate::handles::Version;
use crate::host;

/// The most files that a guest can know at a time. With more, `ENFILE`.
pub const MAX_KNOWN: usize = 1 << 20;

/// A file is looked for so many folders below one that is open.
const MAX_DEPTH: usize = 4096;

/// What tells files apart, also one that has the number of another that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    number: u64,
    born: (i64, u32),
}

impl Identity {
    fn of(status: &Statx) -> Self {
        Self {
            device: device(status),
            number: status.stx_ino,
            born: (status.stx_btime.tv_sec, status.stx_btime.tv_nsec),
        }
    }
}

/// A file that the guest knows.
struct Inode {
    identity: Identity,
    /// Where it was seen last, to find it again.
    parent: u64,
    name: CString,
    /// So often the guest was told of it.
    lookups: u64,
    handle: Option<Arc<OwnedFd>>,
    /// It was used since the last time that handles were counted out.
    recent: bool,
    /// What it was like when the guest opened it last.
    opened: Option<Version>,
}

/// The files that the guest knows, by the numbers that it knows them by.
pub(crate) struct Inodes {
    nodes: HashMap<u64, Inode>,
    by_identity: HashMap<Identity, u64>,
    /// No number is used twice.
    next: u64,
    /// Those with a handle, and some without, in the order in which they are asked to give it up.
    queue: VecDeque<u64>,
    handles: usize,
    max_handles: usize,
}

impl Inodes {
    /// Nothing is known but the root; at most `max_handles` other files are kept open.
    pub(crate) fn new(root: OwnedFd, max_handles: usize) -> Result<Self, Errno> {
        let mut inodes = Self {
            nodes: HashMap::new(),
            by_identity: HashMap::new(),
            next: FUSE_ROOT_ID + 1,
            queue: VecDeque::new(),
            handles: 0,
            max_handles,
        };
        let identity = Identity::of(&host::status(&root)?);
        inodes.by_identity.insert(identity, FUSE_ROOT_ID);
        inodes.nodes.insert(
            FUSE_ROOT_ID,
            Inode {
                identity,
                parent: FUSE_ROOT_ID,
                name: CString::default(),
                lookups: 0,
                handle: Some(Arc::new(root)),
                recent: false,
                opened: None,
            },
        );
        Ok(inodes)
    }

    /// Forgets everything but the root.
    pub(crate) fn reset(&mut self) {
        self.nodes.retain(|&node, _| node == FUSE_ROOT_ID);
        self.by_identity.retain(|_, node| *node == FUSE_ROOT_ID);
        self.queue.clear();
        self.handles = 0;
    }

    /// A handle of a file that the guest knows.
    pub(crate) fn handle(&mut self, node: u64) -> Result<Arc<OwnedFd>, Errno> {
        let inode = self.nodes.get_mut(&node).ok_or(Errno::STALE)?;
        inode.recent = true;
        match &inode.handle {
            Some(handle) => Ok(handle.clone()),
            None => self.find_again(node),
        }
    }

    /// The guest is told of the file `handle`, which was found by this name; returns its number.
    pub(crate) fn enter(
        &mut self,
        parent: u64,
        name: &CStr,
        handle: OwnedFd,
        status: &Statx,
    ) -> Result<u64, Errno> {
        let identity = Identity::of(status);
        let known = self.by_identity.get(&identity).copied();
        let node = match known {
            Some(node) => node,
            None => self.add(identity, parent, name)?,
        };
        let Some(inode) = self.nodes.get_mut(&node) else {
            return Err(Errno::STALE);
        };
        inode.lookups += 1;
        inode.recent = true;
        if node == FUSE_ROOT_ID {
            return Ok(node);
        }
        if known.is_some() {
            inode.found_at(parent, name);
        }
        if inode.handle.is_none() {
            self.keep(node, Arc::new(handle));
        }
        Ok(node)
    }

    /// The guest has forgotten `count` of the times that it was told of a file.
    pub(crate) fn forget(&mut self, node: u64, count: u64) {
        let Some(inode) = self.nodes.get_mut(&node) else {
            return;
        };
        inode.lookups = inode.lookups.saturating_sub(count);
        if inode.lookups > 0 || node == FUSE_ROOT_ID {
            return;
        }
        if let Some(inode) = self.nodes.remove(&node) {
            self.handles -= usize::from(inode.handle.is_some());
            self.by_identity.remove(&inode.identity);
        }
        self.tidy_queue();
    }

    /// A file has a new name: if the guest knows it, it is to be found there.
    pub(crate) fn moved(&mut self, status: &Statx, parent: u64, name: &CStr) {
        let node = self.by_identity.get(&Identity::of(status));
        if let Some(inode) = node.and_then(|node| self.nodes.get_mut(node)) {
            inode.found_at(parent, name);
        }
    }

    /// What a file is like now that the guest opens it; returns what it was like the last time.
    pub(crate) fn opened(&mut self, node: u64, version: Version) -> Option<Version> {
        self.nodes.get_mut(&node)?.opened.replace(version)
    }

    /// How many files the guest knows, and how many of them are kept open.
    #[cfg(test)]
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.nodes.len(), self.handles)
    }

    fn add(&mut self, identity: Identity, parent: u64, name: &CStr) -> Result<u64, Errno> {
        if self.nodes.len() >= MAX_KNOWN {
            return Err(Errno::NFILE);
        }
        let node = self.next;
        self.next += 1;
        self.by_identity.insert(identity, node);
        self.nodes.insert(
            node,
            Inode {
                identity,
                parent,
                name: name.to_owned(),
                lookups: 0,
                handle: None,
                recent: false,
                opened: None,
            },
        );
        Ok(node)
    }

    /// Keeps a handle, and gives up another if there are too many: of those that were not used
    /// since they were asked the last time, the one that was asked first.
    fn keep(&mut self, node: u64, handle: Arc<OwnedFd>) {
        let Some(inode) = self.nodes.get_mut(&node) else {
            return;
        };
        inode.handle = Some(handle);
        self.handles += 1;
        self.queue.push_back(node);
        while self.handles > self.max_handles {
            let Some(asked) = self.queue.pop_front() else {
                return;
            };
            let Some(inode) = self.nodes.get_mut(&asked) else {
                continue;
            };
            if std::mem::take(&mut inode.recent) {
                self.queue.push_back(asked);
            } else if inode.handle.take().is_some() {
                self.handles -= 1;
            }
        }
    }

    /// Files that were forgotten stay in the queue for a while.
    fn tidy_queue(&mut self) {
        if self.queue.len() > 2 * self.max_handles.max(64) {
            let nodes = &self.nodes;
            self.queue.retain(|node| nodes.contains_key(node));
        }
    }

    /// Finds a file whose handle was given up, by name, from the nearest folder that has one. It
    /// must be the very file that it was.
    fn find_again(&mut self, node: u64) -> Result<Arc<OwnedFd>, Errno> {
        let mut path = vec![node];
        let mut above = loop {
            let lowest = path.last().and_then(|node| self.nodes.get(node));
            let parent = lowest.ok_or(Errno::STALE)?.parent;
            if let Some(handle) = &self.nodes.get(&parent).ok_or(Errno::STALE)?.handle {
                break handle.clone();
            }
            path.push(parent);
            // Names that changed behind the guest's back can make a circle.
            if path.len() > MAX_DEPTH {
                return Err(Errno::STALE);
            }
        };
        while let Some(node) = path.pop() {
            let inode = self.nodes.get(&node).ok_or(Errno::STALE)?;
            let handle = host::find(above.as_fd(), &inode.name).map_err(|_| Errno::STALE)?;
            if Identity::of(&host::status(&handle)?) != inode.identity {
                return Err(Errno::STALE);
            }
            above = Arc::new(handle);
            self.keep(node, above.clone());
        }
        Ok(above)
    }
}

impl Inode {
    fn found_at(&mut self, parent: u64, name: &CStr) {
        self.parent = parent;
        if *self.name != *name {
            self.name = name.to_owned();
        }
    }
}
