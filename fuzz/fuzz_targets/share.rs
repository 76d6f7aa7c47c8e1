//! FUSE server: any requests neither panic, nor reach outside of the folder.
//!
//! `cargo +nightly fuzz run share`
//!
//! The input is a sequence of requests, each behind its length in two bytes. Their headers are so far
//! put right that the server knows the operation and perhaps the file.

#![no_main]

use std::fs;
use std::path::Path;

use clade_share::{Limits, Share};
use libfuzzer_sys::fuzz_target;
use vm_memory::VolatileSlice;

/// `FUSE_FALLOCATE` and `FUSE_SYNCFS`: they would fill the disk, or wait for it.
const LEFT_OUT: [u32; 2] = [43, 50];

const LIMITS: Limits = Limits {
    known: 16,
    open: 16,
};

fuzz_target!(|bytes: &[u8]| {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() {
        memory
    } else {
        Path::new("/tmp")
    };
    let home = tempfile::tempdir_in(place).expect("folder");
    let folder = home.path().join("share");
    fs::create_dir_all(folder.join("a/b")).expect("folder");
    fs::write(folder.join("a/f"), "contents").expect("file");
    std::os::unix::fs::symlink("../..", folder.join("l")).expect("link");
    let mut share = Share::open(&folder, false, LIMITS).expect("share");
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(after.len());
        let (request, next) = after.split_at(length);
        rest = next;
        serve(&mut share, request);
    }
    let around: Vec<_> = fs::read_dir(home.path()).expect("list").collect();
    assert_eq!(around.len(), 1, "something was made outside");
});

fn serve(share: &mut Share, request: &[u8]) {
    let mut request = request.to_vec();
    put_right(&mut request);
    let operation = request.get(4).copied().map(u32::from);
    if operation.is_some_and(|operation| LEFT_OUT.contains(&operation)) {
        return;
    }
    let mut reply = vec![0xaa; 4096];
    let length = {
        let request: Vec<_> = request.chunks_mut(100).map(VolatileSlice::from).collect();
        let reply: Vec<_> = reply.chunks_mut(1000).map(VolatileSlice::from).collect();
        share.serve(&request, &reply)
    };
    assert!(
        reply[length..].iter().all(|&byte| byte == 0xaa),
        "more written than said"
    );
}

/// `struct fuse_in_header`: its length is the request's, operations are known ones, and files have
/// small numbers.
fn put_right(request: &mut [u8]) {
    let length = request.len() as u32;
    let Some(header) = request.first_chunk_mut::<40>() else {
        return;
    };
    header[..4].copy_from_slice(&length.to_le_bytes());
    header[4] %= 53;
    header[5..8].fill(0);
    header[16] %= 8;
    header[17..24].fill(0);
}
