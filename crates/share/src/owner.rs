//! To whom files belong.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Gid, Statx, Uid, XattrFlags, chownat};
use rustix::fs::{getxattr, removexattr, setxattr};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities};

use crate::host;

/// The extended attribute that says to whom a file belongs in the guest, as `UID:GID`.
pub(crate) const ATTRIBUTE: &CStr = c"user.clade.owner";

/// A user and a group, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) user: u32,
    pub(crate) group: u32,
}

impl Owner {
    /// Nobody has the number -1, which to chown(2) means "as before".
    pub(crate) fn check(self) -> Result<Self, Errno> {
        let nobody = [self.user, self.group].contains(&u32::MAX);
        if nobody { Err(Errno::INVAL) } else { Ok(self) }
    }
}

/// How files are given to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ownership {
    /// As the guest says, for this process may do that.
    Real,
    /// In the guest only: on the host, files are the user's.
    Recorded,
}

impl Ownership {
    /// What this process can do.
    pub(crate) fn of_this_process() -> Self {
        let may =
            capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::CHOWN));
        if may { Self::Real } else { Self::Recorded }
    }

    /// To whom the guest is told that a file belongs.
    pub(crate) fn owner(self, handle: impl AsFd, status: &Statx) -> Owner {
        let real = Owner {
            user: status.stx_uid,
            group: status.stx_gid,
        };
        if self == Self::Real || !can_record(host::kind(status)) {
            return real;
        }
        let mut text = [0; 32];
        getxattr(host::path_of(handle), ATTRIBUTE, &mut text)
            .ok()
            .and_then(|length| parse(&text[..length]))
            .unwrap_or(real)
    }

    /// Gives a file to `owner`.
    pub(crate) fn give(self, handle: impl AsFd, status: &Statx, owner: Owner) -> Result<(), Errno> {
        let owner = owner.check()?;
        let handle = handle.as_fd();
        if self == Self::Real {
            let user = Some(Uid::from_raw(owner.user));
            let group = Some(Gid::from_raw(owner.group));
            return chownat(handle, c"", user, group, AtFlags::EMPTY_PATH);
        }
        // Nothing depends on to whom a link or a pipe belongs, and there is no room to say it.
        if !can_record(host::kind(status)) {
            return Ok(());
        }
        let path = host::path_of(handle);
        if (owner.user, owner.group) == (status.stx_uid, status.stx_gid) {
            return match removexattr(path, ATTRIBUTE) {
                Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
                Err(error) => Err(error),
            };
        }
        let text = format!("{}:{}", owner.user, owner.group);
        match setxattr(path, ATTRIBUTE, text.as_bytes(), XattrFlags::empty()) {
            // The file system has no extended attributes.
            Err(Errno::OPNOTSUPP) => Err(Errno::PERM),
            result => result,
        }
    }
}

/// Linux lets users attach attributes to these only.
fn can_record(kind: FileType) -> bool {
    matches!(kind, FileType::RegularFile | FileType::Directory)
}

fn parse(text: &[u8]) -> Option<Owner> {
    let (user, group) = std::str::from_utf8(text).ok()?.split_once(':')?;
    Some(Owner {
        user: user.parse().ok()?,
        group: group.parse().ok()?,
    })
}
