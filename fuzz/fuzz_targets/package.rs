//! The package reader gives an error for what is no package, and never panics or hangs.

#![no_main]

use std::io::{Read, sink};

use clade_images::deb;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = deb::visit(bytes, |_, content| {
        std::io::copy(&mut content.take(1 << 20), &mut sink()).map(drop)
    });
    if let Ok(content) = deb::decompress(bytes) {
        let _ = std::io::copy(&mut content.take(1 << 20), &mut sink());
    }
});
