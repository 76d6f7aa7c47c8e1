//! Differential tests against Spike, the RISC-V Foundation's reference simulator.
//!
//! A generator writes a program of random instructions ([`instructions`]); Spike ([`spike`]) and
//! Clade ([`clade`]) run it; what it left in the signature area of memory ([`layout`]) must be
//! equal ([`compare`]).

pub mod assembler;
pub mod clade;
pub mod compare;
pub mod elf;
pub mod instructions;
pub mod layout;
pub mod machine_code;
pub mod random;
pub mod recorded;
pub mod spike;

/// Little-endian bytes as doublewords.
pub fn doublewords(bytes: &[u8]) -> Vec<u64> {
    let chunks = bytes.chunks_exact(8);
    chunks
        .map(|chunk| chunk.iter().rev().fold(0, |v, &b| v << 8 | u64::from(b)))
        .collect()
}

/// Doublewords as little-endian bytes.
pub fn bytes(doublewords: &[u64]) -> Vec<u8> {
    doublewords.iter().flat_map(|d| d.to_le_bytes()).collect()
}
