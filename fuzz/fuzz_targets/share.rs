//! FUSE server: any requests neither panic, nor reach outside of the folder.
//!
//! `cargo +nightly fuzz run share`
//!
//! The input is a sequence of requests, each behind its length in two bytes.

#![no_main]

use std::fs;

use clade_share::{Limits, Share};
use libfuzzer_sys::fuzz_target;
use vm_memory::VolatileSlice;

/// `FUSE_FALLOCATE` and `FUSE_SYNCFS`: they would fill the disk, or wait for it.
const LEFT_OUT: [u32; 2] = [43, 50];

const LIMITS: Limits = Limits { known: 16, open: 16 };

fuzz_target!(|bytes: &[u8]| {
    let home = tempfile::tempdir().expect("folder");
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
    let operation = request.get(4..8).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("4")));
    if operation.is_some_and(|operation| LEFT_OUT.contains(&operation)) {
        return;
    }
    let mut request = request.to_vec();
    let mut reply = vec![0xaa; 4096];
    let length = {
        let request: Vec<_> = request.chunks_mut(100).map(VolatileSlice::from).collect();
        let reply: Vec<_> = reply.chunks_mut(1000).map(VolatileSlice::from).collect();
        share.serve(&request, &reply)
    };
    assert!(reply[length..].iter().all(|&byte| byte == 0xaa), "more written than said");
}
