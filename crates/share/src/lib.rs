//! A FUSE server over a folder of the host, for guests that are not trusted.
//!
//! A [`Share`] takes one request of the FUSE protocol (`linux/fuse.h`, as Linux speaks it over
//! virtio-fs) after the other, and writes the reply. It knows nothing of how they come and go:
//! both are pieces of guest memory.
//!
//! # What a guest can reach
//!
//! Only what is in the folder. Every file that the guest knows is an inode that was found by one
//! name in a folder that it knew already, opened without following links (`O_PATH | O_NOFOLLOW`).
//! Names with a slash, `.` and `..` are refused, and the host never resolves a symbolic link: the
//! guest does that, by its own root. So it makes no difference what links or names a guest sends,
//! or what is renamed meanwhile. Only regular files and folders are ever opened; device nodes are
//! never made.
//!
//! # Who owns what
//!
//! A process that may not give files away records in the extended attribute `user.clade.owner` to
//! whom they belong in the guest, and shows the guest that owner; on the host they are the user's.
//! Where it may (as root), files really change hands.
//!
//! # What it costs
//!
//! Files that a guest knows are kept open while there is room, and found again by their names
//! when there is none ([`Limits`]), so that a guest can know more files than the host lets a
//! process open.

mod attributes;
mod handles;
mod host;
mod inodes;
mod io;
mod operations;
mod owner;
mod server;
mod wire;

#[cfg(test)]
mod tests;

pub use inodes::MAX_KNOWN;
pub use server::{Limits, Share};
