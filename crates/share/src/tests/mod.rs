//! The server, asked as a guest would.

mod confined;
mod files;
mod hostile;
mod names;
mod owners;

use std::path::PathBuf;

use fuse_abi::linux::*;
use tempfile::TempDir;
use vm_memory::VolatileSlice;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{Limits, Share};

const ROOT: u64 = FUSE_ROOT_ID;

/// Room for a reply, as a guest leaves it: more than most need.
const ROOM: usize = 70 << 10;

/// A guest with a share of a folder of its own.
struct Guest {
    share: Share,
    folder: TempDir,
    user: u32,
    group: u32,
}

impl Guest {
    fn new() -> Self {
        Self::with_limits(Limits {
            known: 100,
            open: 100,
        })
    }

    fn with_limits(limits: Limits) -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let share = Share::open(folder.path(), false, limits).expect("share");
        let mut guest = Self {
            share,
            folder,
            user: rustix::process::geteuid().as_raw(),
            group: rustix::process::getegid().as_raw(),
        };
        guest.begin();
        guest
    }

    fn begin(&mut self) {
        let init = fuse_init_in {
            major: 7,
            minor: 38,
            flags: u32::MAX,
            ..fuse_init_in::default()
        };
        self.ask(fuse_opcode::FUSE_INIT, 0, init.as_bytes())
            .expect("init");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Sends a request in pieces of odd sizes, and takes the reply in such.
    fn ask(&mut self, operation: fuse_opcode, node: u64, body: &[u8]) -> Result<Vec<u8>, i32> {
        let header = fuse_in_header {
            len: (size_of::<fuse_in_header>() + body.len()) as u32,
            opcode: operation as u32,
            unique: 77,
            nodeid: node,
            uid: self.user,
            gid: self.group,
            ..fuse_in_header::default()
        };
        let mut request = [header.as_bytes(), body].concat();
        let mut reply = vec![0xaa; ROOM];
        let length = {
            let request: Vec<_> = request.chunks_mut(37).map(VolatileSlice::from).collect();
            let reply: Vec<_> = reply.chunks_mut(1013).map(VolatileSlice::from).collect();
            self.share.serve(&request, &reply)
        };
        assert!(
            reply[length..].iter().all(|&byte| byte == 0xaa),
            "{operation:?}"
        );
        if length == 0 {
            return Ok(Vec::new());
        }
        let (answer, body) = fuse_out_header::read_from_prefix(&reply[..length]).expect("header");
        assert_eq!((answer.len as usize, answer.unique), (length, 77));
        match answer.error {
            0 => Ok(body.to_vec()),
            error => Err(-error),
        }
    }

    fn ask_for<T: FromBytes>(
        &mut self,
        operation: fuse_opcode,
        node: u64,
        body: &[u8],
    ) -> Result<T, i32> {
        let answer = self.ask(operation, node, body)?;
        Ok(T::read_from_prefix(&answer).expect("a whole answer").0)
    }

    fn lookup(&mut self, parent: u64, name: &str) -> Result<fuse_entry_out, i32> {
        self.ask_for(fuse_opcode::FUSE_LOOKUP, parent, &text(&[name]))
    }

    fn forget(&mut self, node: u64, nlookup: u64) {
        let forget = fuse_forget_in { nlookup };
        self.ask(fuse_opcode::FUSE_FORGET, node, forget.as_bytes())
            .expect("silence");
    }

    fn attributes(&mut self, node: u64) -> Result<fuse_attr, i32> {
        let get = fuse_getattr_in::default();
        self.ask_for(fuse_opcode::FUSE_GETATTR, node, get.as_bytes())
            .map(|answer: fuse_attr_out| answer.attr)
    }

    fn set(&mut self, node: u64, set: fuse_setattr_in) -> Result<fuse_attr, i32> {
        self.ask_for(fuse_opcode::FUSE_SETATTR, node, set.as_bytes())
            .map(|answer: fuse_attr_out| answer.attr)
    }

    fn mkdir(&mut self, parent: u64, name: &str, mode: u32) -> Result<fuse_entry_out, i32> {
        let mkdir = fuse_mkdir_in { mode, umask: 0 };
        self.ask_for(fuse_opcode::FUSE_MKDIR, parent, &with(&mkdir, &[name]))
    }

    fn mknod(&mut self, parent: u64, name: &str, mode: u32) -> Result<fuse_entry_out, i32> {
        let mknod = fuse_mknod_in {
            mode,
            ..fuse_mknod_in::default()
        };
        self.ask_for(fuse_opcode::FUSE_MKNOD, parent, &with(&mknod, &[name]))
    }

    fn create(
        &mut self,
        parent: u64,
        name: &str,
        flags: u32,
        mode: u32,
    ) -> Result<(fuse_entry_out, u64), i32> {
        let create = fuse_create_in {
            flags,
            mode,
            ..fuse_create_in::default()
        };
        let body = with(&create, &[name]);
        let answer = self.ask(fuse_opcode::FUSE_CREATE, parent, &body)?;
        let (entry, rest) = fuse_entry_out::read_from_prefix(&answer).expect("entry");
        let open = fuse_open_out::read_from_bytes(rest).expect("handle");
        Ok((entry, open.fh))
    }

    fn open(&mut self, node: u64, flags: u32) -> Result<u64, i32> {
        let open = fuse_open_in {
            flags,
            open_flags: 0,
        };
        self.ask_for(fuse_opcode::FUSE_OPEN, node, open.as_bytes())
            .map(|answer: fuse_open_out| answer.fh)
    }

    fn release(&mut self, fh: u64) {
        let release = fuse_release_in {
            fh,
            ..fuse_release_in::default()
        };
        self.ask(fuse_opcode::FUSE_RELEASE, 0, release.as_bytes())
            .expect("release");
    }

    fn read(&mut self, fh: u64, offset: u64, size: u32) -> Result<Vec<u8>, i32> {
        let read = fuse_read_in {
            fh,
            offset,
            size,
            ..fuse_read_in::default()
        };
        self.ask(fuse_opcode::FUSE_READ, 0, read.as_bytes())
    }

    fn write(&mut self, write: fuse_write_in, data: &[u8]) -> Result<u32, i32> {
        let write = fuse_write_in {
            size: data.len() as u32,
            ..write
        };
        let body = [write.as_bytes(), data].concat();
        self.ask_for(fuse_opcode::FUSE_WRITE, 0, &body)
            .map(|answer: fuse_write_out| answer.size)
    }

    /// All names that a folder has, read with so much room at a time.
    fn list(&mut self, node: u64, size: u32, plus: bool) -> Vec<String> {
        let open = fuse_open_in::default();
        let open: fuse_open_out = self
            .ask_for(fuse_opcode::FUSE_OPENDIR, node, open.as_bytes())
            .expect("a folder");
        let operation = if plus {
            fuse_opcode::FUSE_READDIRPLUS
        } else {
            fuse_opcode::FUSE_READDIR
        };
        let mut names = Vec::new();
        let mut read = fuse_read_in {
            fh: open.fh,
            size,
            ..fuse_read_in::default()
        };
        loop {
            let answer = self.ask(operation, node, read.as_bytes()).expect("a list");
            if answer.is_empty() {
                break;
            }
            assert!(answer.len() <= size as usize);
            let mut rest = &answer[..];
            while !rest.is_empty() {
                let head = if plus { size_of::<fuse_entry_out>() } else { 0 };
                let ([_, next], after) =
                    <[u64; 2]>::read_from_prefix(&rest[head..]).expect("entry");
                let ([length, _], after) = <[u32; 2]>::read_from_prefix(after).expect("entry");
                let name = &after[..length as usize];
                names.push(String::from_utf8(name.to_vec()).expect("text"));
                read.offset = next;
                rest = &rest[(head + 24 + name.len()).next_multiple_of(8)..];
            }
        }
        self.release(open.fh);
        names
    }
}

fn text(strings: &[&str]) -> Vec<u8> {
    strings
        .iter()
        .flat_map(|text| [text.as_bytes(), b"\0"].concat())
        .collect()
}

fn with<T: IntoBytes + Immutable>(arguments: &T, strings: &[&str]) -> Vec<u8> {
    [arguments.as_bytes(), &text(strings)].concat()
}
