//! Differential tests against Spike, the RISC-V Foundation's reference simulator.
//!
//! A generator writes a program: random instructions ([`instructions`]), or random probes of the
//! privileged architecture ([`privileged`]). Spike ([`spike`]) and Clade ([`clade`]) run it. What it
//! left in the signature area of memory ([`layout`]) must be equal ([`compare`]), except for what
//! [`deliberate`] lists.

pub(crate) mod assembler;
pub(crate) mod campaign;
pub(crate) mod clade;
pub(crate) mod compare;
pub(crate) mod deliberate;
pub(crate) mod elf;
pub(crate) mod instructions;
pub(crate) mod layout;
pub(crate) mod machine_code;
pub(crate) mod privileged;
pub(crate) mod random;
pub(crate) mod recorded;
pub(crate) mod spike;

/// Little-endian bytes as doublewords.
pub(crate) fn doublewords(bytes: &[u8]) -> Vec<u64> {
    let chunks = bytes.chunks_exact(8);
    chunks
        .map(|chunk| chunk.iter().rev().fold(0, |v, &b| v << 8 | u64::from(b)))
        .collect()
}

/// Doublewords as little-endian bytes.
pub(crate) fn bytes(doublewords: &[u64]) -> Vec<u8> {
    doublewords.iter().flat_map(|d| d.to_le_bytes()).collect()
}
