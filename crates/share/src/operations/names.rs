//! Making, renaming and removing.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use fuse_abi::linux::*;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, RenameFlags, linkat, mkdirat, mknodat, readlinkat, renameat_with,
    symlinkat, unlinkat,
};
use rustix::io::Errno;

use crate::host;
use crate::owner::Owner;
use crate::server::Share;
use crate::wire::{Reply, Request};

/// What only its owner may do anything with, until it is all made.
const PRIVATE: Mode = Mode::RWXU;

impl Share {
    pub(crate) fn readlink(&mut self, request: &Request) -> Result<Reply, Errno> {
        let handle = self.inodes.handle(request.header.nodeid)?;
        let target = readlinkat(&handle, c"", Vec::new())?;
        Ok(Reply::Bytes(target.into_bytes()))
    }

    pub(crate) fn symlink(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        let name = request.take_name()?.to_owned();
        let target = request.take_string()?.to_owned();
        self.make(request, &name, None, |folder, name| {
            symlinkat(&target, folder, name)
        })
    }

    pub(crate) fn mkdir(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        let mkdir: fuse_mkdir_in = request.take()?;
        let name = request.take_name()?.to_owned();
        self.make(request, &name, Some(mkdir.mode), |folder, name| {
            mkdirat(folder, name, PRIVATE)
        })
    }

    pub(crate) fn mknod(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        let mknod: fuse_mknod_in = request.take()?;
        let name = request.take_name()?.to_owned();
        let kind = match FileType::from_raw_mode(mknod.mode) {
            kind @ (FileType::RegularFile | FileType::Fifo | FileType::Socket) => kind,
            // A device node would be one for the host's users, too.
            FileType::CharacterDevice | FileType::BlockDevice => return Err(Errno::PERM),
            _ => return Err(Errno::INVAL),
        };
        self.make(request, &name, Some(mknod.mode), |folder, name| {
            mknodat(folder, name, kind, PRIVATE, 0)
        })
    }

    /// Makes something, gives it to who asked for it, and tells the guest of it.
    fn make(
        &mut self,
        request: &Request,
        name: &CStr,
        mode: Option<u32>,
        make: impl FnOnce(&OwnedFd, &CStr) -> Result<(), Errno>,
    ) -> Result<Reply, Errno> {
        let parent = request.header.nodeid;
        let folder = self.inodes.handle(parent)?;
        let owner = asking(request)?;
        make(&folder, name)?;
        let made = host::find(&folder, name)?;
        self.settle(owner, &folder, &made, mode)?;
        Ok(Reply::of(&self.tell(parent, name, made)?))
    }

    /// Gives a new file to `owner`, who asked for it, and its mode: of those that make files, the host knows another
    /// user, and a mask (`umask`).
    pub(crate) fn settle(
        &self,
        mut owner: Owner,
        folder: &OwnedFd,
        made: &OwnedFd,
        mode: Option<u32>,
    ) -> Result<(), Errno> {
        let above = host::status(folder)?;
        let status = host::status(made)?;
        let mut mode = mode.map(|mode| mode & host::MODE_BITS);
        // In a folder with this bit everything belongs to the folder's group.
        if u32::from(above.stx_mode) & host::SET_GROUP != 0 {
            owner.group = self.ownership.owner(folder, &above).group;
            if host::kind(&status) == FileType::Directory {
                mode = mode.map(|mode| mode | host::SET_GROUP);
            }
        }
        if (owner.user, owner.group) != (status.stx_uid, status.stx_gid) {
            match self.ownership.give(made, &status, owner) {
                // Then it is the user's, as on the host.
                Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error),
            }
        }
        match mode {
            Some(mode) if mode != u32::from(status.stx_mode) & host::MODE_BITS => {
                host::set_mode(made, mode)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn remove(&mut self, request: &mut Request, flags: AtFlags) -> Result<Reply, Errno> {
        let folder = self.inodes.handle(request.header.nodeid)?;
        unlinkat(&folder, request.take_name()?, flags)?;
        Ok(Reply::DONE)
    }

    pub(crate) fn rename(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        let rename: fuse_rename_in = request.take()?;
        self.move_to(request, rename.newdir, RenameFlags::empty())
    }

    pub(crate) fn rename2(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        let rename: fuse_rename2_in = request.take()?;
        let flags = RenameFlags::from_bits(rename.flags).ok_or(Errno::INVAL)?;
        // A whiteout is a device node.
        if !(RenameFlags::NOREPLACE | RenameFlags::EXCHANGE).contains(flags) {
            return Err(Errno::INVAL);
        }
        self.move_to(request, rename.newdir, flags)
    }

    fn move_to(
        &mut self,
        request: &mut Request,
        new_parent: u64,
        flags: RenameFlags,
    ) -> Result<Reply, Errno> {
        let parent = request.header.nodeid;
        let name = request.take_name()?.to_owned();
        let new_name = request.take_name()?.to_owned();
        let folder = self.inodes.handle(parent)?;
        let new_folder = self.inodes.handle(new_parent)?;
        renameat_with(&folder, &name, &new_folder, &new_name, flags)?;
        self.follow(&new_folder, new_parent, &new_name);
        if flags.contains(RenameFlags::EXCHANGE) {
            self.follow(&folder, parent, &name);
        }
        Ok(Reply::DONE)
    }

    /// What was moved is found there from now on.
    fn follow(&mut self, folder: &OwnedFd, parent: u64, name: &CStr) {
        if let Ok(status) = host::status_of(folder, name) {
            self.inodes.moved(&status, parent, name);
        }
    }

    pub(crate) fn link(&mut self, request: &mut Request) -> Result<Reply, Errno> {
        let link: fuse_link_in = request.take()?;
        let parent = request.header.nodeid;
        let name = request.take_name()?;
        let file = self.inodes.handle(link.oldnodeid)?;
        let folder = self.inodes.handle(parent)?;
        // To follow this path is to go to the file itself, be it a symbolic link.
        let path = host::path_of(&file);
        linkat(CWD, path, &folder, name, AtFlags::SYMLINK_FOLLOW)?;
        let handle = host::find(&folder, name)?;
        Ok(Reply::of(&self.tell(parent, name, handle)?))
    }
}

/// Whose request it is.
pub(crate) fn asking(request: &Request) -> Result<Owner, Errno> {
    let owner = Owner {
        user: request.header.uid,
        group: request.header.gid,
    };
    owner.check()
}
