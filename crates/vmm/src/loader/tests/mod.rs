//! Tests of the loader: files built here or by GNU binutils, loaded into small machines.

mod accepted;
mod files;
mod properties;
mod refused;

use clade_engine::GuestRam;
use vm_memory::{Bytes, GuestAddress};

use super::{BootFiles, LoadError, Placement, Problem, Source, load};

const RAM_START: u64 = 0x8000_0000;
const MIB: u64 = 1 << 20;

/// Memory behind a hole, which belongs to no file.
const GUARD_START: u64 = 0x9000_0000;
const GUARD: [u8; 4096] = [0xa5; 4096];

/// A machine's memory of `size` bytes, full of rubbish where `.bss` could be, and a guard.
fn ram(size: u64) -> GuestRam {
    let ranges = [
        (GuestAddress(RAM_START), size as usize),
        (GuestAddress(GUARD_START), GUARD.len()),
    ];
    let ram = GuestRam::from_ranges(&ranges).expect("memory");
    ram.write_slice(&GUARD, GuestAddress(GUARD_START)).unwrap();
    ram
}

fn bytes_at(ram: &GuestRam, start: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    ram.read_slice(&mut bytes, GuestAddress(start)).unwrap();
    bytes
}

fn source(bytes: impl Into<Vec<u8>>) -> Source {
    Source::from_bytes("file", bytes.into()).unwrap()
}

fn kernel(bytes: impl Into<Vec<u8>>) -> BootFiles {
    BootFiles {
        kernel: Some(source(bytes)),
        ..BootFiles::default()
    }
}

/// Loads `bytes` as the kernel of a machine with 16 MiB.
fn load_kernel(bytes: impl Into<Vec<u8>>) -> Result<(Placement, GuestRam), LoadError> {
    let ram = ram(16 * MIB);
    load(kernel(bytes), &ram).map(|placement| (placement, ram))
}

/// The problem that `bytes` are as a kernel.
fn problem(bytes: impl Into<Vec<u8>>) -> Problem {
    match load_kernel(bytes) {
        Ok((placement, _)) => panic!("loaded: {placement:x?}"),
        Err(error) => error.problem,
    }
}
