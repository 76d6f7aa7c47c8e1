//! How members find each other: each has a socket in the switch's folder, whose name tells its
//! address. Whoever joins connects with all that are there, under a lock, so that of any two
//! members exactly one has connected with the other.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};

use crate::MacAddress;
use crate::user::UserError;
use crate::user::addresses::NETWORK;

/// The last numbers of addresses that guests get.
const FIRST: u8 = 15;
const LAST: u8 = 254;
const BACKLOG: i32 = 128;

const LOCK: &str = "lock";

/// Why a switch cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// The folder where members meet.
    #[error("cannot join the switch in {}: {source}", folder.display())]
    Folder {
        /// Where it is.
        folder: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// All addresses are taken.
    #[error("the switch is full: it has as many machines as addresses; use another name")]
    Full,
    /// The user-mode network.
    #[error(transparent)]
    User(#[from] UserError),
    /// Something of the host.
    #[error("the host refuses what a switch needs: {0}")]
    Host(#[from] io::Error),
}

/// What comes of joining.
pub(super) struct Meeting {
    /// The guest's address.
    pub(super) address: Ipv4Addr,
    /// Where later members connect.
    pub(super) listener: OwnedFd,
    /// Connections with those who are there.
    pub(super) members: Vec<OwnedFd>,
}

impl Meeting {
    pub(super) fn join(folder: &Path, name: &str, mac: MacAddress) -> Result<Self, SwitchError> {
        let failed = |source| SwitchError::Folder {
            folder: folder.to_owned(),
            source,
        };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700);
        builder.create(folder).map_err(failed)?;
        let lock = File::create(folder.join(LOCK)).map_err(failed)?;
        lock.lock().map_err(failed)?;
        let (taken, members) = visit(folder).map_err(failed)?;
        let number = choose(mac, &taken).ok_or(SwitchError::Full)?;
        let listener = open(folder, &format!("{number}.{name}")).map_err(failed)?;
        let [a, b, c, _] = NETWORK.0.octets();
        Ok(Meeting {
            address: Ipv4Addr::new(a, b, c, number),
            listener,
            members,
        })
    }
}

/// Connects with the members that live, and clears away what dead ones left. Returns the numbers
/// that are taken, too.
fn visit(folder: &Path) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let (mut taken, mut members) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(folder)? {
        let entry = entry?.file_name();
        let Some(entry) = entry.to_str() else {
            continue;
        };
        let number = entry.split_once('.').map(|(number, _)| number.parse());
        let Some(Ok(number)) = number else {
            continue;
        };
        match through(folder, entry, |address| {
            let socket = new_socket()?;
            connect(&socket, address).map(|()| socket)
        })? {
            Ok(socket) => {
                taken.push(number);
                members.push(socket);
            }
            Err(Errno::CONNREFUSED) => fs::remove_file(folder.join(entry))?,
            // It lives, but is too busy to be connected with.
            Err(_) => taken.push(number),
        }
    }
    Ok((taken, members))
}

/// The number that belongs to a card, or the next one that is free.
fn choose(mac: MacAddress, taken: &[u8]) -> Option<u8> {
    let count = u32::from(LAST - FIRST) + 1;
    let [_, _, b, c, d, e] = mac.0;
    let own = u32::from_be_bytes([b, c, d, e]) % count;
    (0..count)
        .map(|step| FIRST + ((own + step) % count) as u8)
        .find(|number| !taken.contains(number))
}

fn open(folder: &Path, entry: &str) -> io::Result<OwnedFd> {
    let listener = through(folder, entry, |address| {
        let socket = new_socket()?;
        bind(&socket, address)?;
        listen(&socket, BACKLOG)?;
        Ok(socket)
    })?;
    Ok(listener?)
}

fn new_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// Uses the address of an entry of `folder`, by a short path: those of sockets are bounded.
fn through<R>(
    folder: &Path,
    entry: &str,
    action: impl FnOnce(&SocketAddrUnix) -> Result<R, Errno>,
) -> io::Result<Result<R, Errno>> {
    let folder = File::open(folder)?;
    let path = format!("/proc/self/fd/{}/{entry}", folder.as_raw_fd());
    Ok(action(&SocketAddrUnix::new(path)?))
}
