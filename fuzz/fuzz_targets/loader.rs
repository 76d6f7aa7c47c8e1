//! Guest loader: any bytes as kernel and as firmware neither panic nor reach outside RAM.
//!
//! `cargo +nightly fuzz run loader fuzz/corpus/loader crates/vmm/src/loader/tests/fixtures`

#![no_main]

use clade_engine::GuestRam;
use clade_vmm::loader::{BootFiles, Source, load};
use libfuzzer_sys::fuzz_target;
use vm_memory::{Bytes, GuestAddress};

const RAM: (GuestAddress, usize) = (GuestAddress(0x8000_0000), 4 << 20);
const GUARD: (GuestAddress, usize) = (GuestAddress(0x8080_0000), 4096);

fuzz_target!(|bytes: &[u8]| {
    let Ok(kernel) = Source::from_bytes("kernel", bytes.to_vec()) else {
        return;
    };
    let Ok(firmware) = Source::from_bytes("firmware", bytes.to_vec()) else {
        return;
    };
    check(BootFiles {
        kernel: Some(kernel),
        ..BootFiles::default()
    });
    check(BootFiles {
        firmware: Some(firmware),
        ..BootFiles::default()
    });
});

fn check(files: BootFiles) {
    let ram = GuestRam::from_ranges(&[RAM, GUARD]).expect("memory");
    ram.write_slice(&[0xa5; GUARD.1], GUARD.0).expect("guard");
    if let Ok(placement) = load(files, &ram) {
        let end = RAM.0.0 + RAM.1 as u64;
        for program in [placement.firmware, placement.kernel].into_iter().flatten() {
            assert!(program.range.start >= RAM.0.0 && program.range.end <= end);
            assert!(program.range.contains(&program.entry));
        }
        assert!(placement.dtb.start >= RAM.0.0 && placement.dtb.end <= end);
    }
    let mut guard = [0; GUARD.1];
    ram.read_slice(&mut guard, GUARD.0).expect("guard");
    assert!(guard == [0xa5; GUARD.1], "written outside RAM");
}
