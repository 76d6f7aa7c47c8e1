//! Listing folders.

use std::mem::MaybeUninit;

use fuse_abi::linux::*;
use rustix::fs::{FileType, OFlags, RawDir, RawDirEntry, SeekFrom, seek};
use rustix::io::Errno;
use zerocopy::IntoBytes;

use super::session::MAX_TRANSFER;
use crate::attributes::entry_reply;
use crate::host;
use crate::server::Share;
use crate::wire::{Reply, Request};

/// The host is asked for so many bytes of names at once.
const HOST_BUFFER: usize = 32 << 10;

impl Share {
    pub(crate) fn open_folder(&mut self, request: &Request) -> Result<Reply, Errno> {
        self.handles.room()?;
        let handle = self.inodes.handle(request.header.nodeid)?;
        let folder = host::open(&handle, FileType::Directory, OFlags::RDONLY)?;
        Ok(Reply::of(&fuse_open_out {
            fh: self.handles.add(folder),
            ..fuse_open_out::default()
        }))
    }

    /// Lists a folder from a place on, `plus` what a lookup of each name gives.
    pub(crate) fn read_folder(
        &mut self,
        request: &mut Request,
        plus: bool,
    ) -> Result<Reply, Errno> {
        let read: fuse_read_in = request.take()?;
        let parent = request.header.nodeid;
        let room = read.size.min(MAX_TRANSFER) as usize;
        let folder = self.handles.get(read.fh)?;
        seek(&folder, SeekFrom::Start(read.offset))?;
        let mut buffer = [MaybeUninit::uninit(); HOST_BUFFER];
        let mut entries = RawDir::new(&folder, &mut buffer);
        let mut listing = Vec::with_capacity(room);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            if listing.len() + length_of(&entry, plus) > room {
                break;
            }
            if plus {
                listing.extend(self.found(parent, &entry).as_bytes());
            }
            self.list(&mut listing, parent, &entry);
        }
        Ok(Reply::Bytes(listing))
    }

    /// What a lookup gives, or number 0, with which the guest is told of the name only: the file
    /// is gone, or there are too many.
    fn found(&mut self, parent: u64, entry: &RawDirEntry<'_>) -> fuse_entry_out {
        let name = entry.file_name();
        let found = |share: &mut Self| {
            let folder = share.inodes.handle(parent)?;
            let handle = host::find(&folder, name)?;
            share.tell(parent, name, handle)
        };
        if is_dots(entry) {
            return entry_reply(0, fuse_attr::default());
        }
        found(self).unwrap_or_else(|_: Errno| entry_reply(0, fuse_attr::default()))
    }

    fn list(&self, listing: &mut Vec<u8>, parent: u64, entry: &RawDirEntry<'_>) {
        let name = entry.file_name().to_bytes();
        // What is above the shared folder is none of the guest's business.
        let hidden = parent == FUSE_ROOT_ID && name == b"..";
        let number = if hidden { FUSE_ROOT_ID } else { entry.ino() };
        listing.extend(number.as_bytes());
        listing.extend(entry.next_entry_cookie().as_bytes());
        listing.extend((name.len() as u32).as_bytes());
        listing.extend(type_of(entry).as_bytes());
        listing.extend(name);
        listing.resize(listing.len().next_multiple_of(8), 0);
    }
}

fn is_dots(entry: &RawDirEntry<'_>) -> bool {
    matches!(entry.file_name().to_bytes(), b"." | b"..")
}

/// The file's type as `readdir` numbers it (`DT_*`), 0 if the host does not say.
fn type_of(entry: &RawDirEntry<'_>) -> u32 {
    match entry.file_type() {
        FileType::Unknown => 0,
        kind => kind.as_raw_mode() >> 12,
    }
}

/// Length of an entry as FUSE has it: `struct fuse_dirent` or `fuse_direntplus`, the name, and up
/// to a multiple of eight bytes.
fn length_of(entry: &RawDirEntry<'_>, plus: bool) -> usize {
    let head = if plus {
        size_of::<fuse_direntplus>()
    } else {
        size_of::<fuse_dirent>()
    };
    (head + entry.file_name().to_bytes().len()).next_multiple_of(8)
}
