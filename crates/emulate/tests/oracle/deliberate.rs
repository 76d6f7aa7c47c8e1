//! Where Clade and Spike differ and both are right.

use clade_riscv::csr::address::*;
use clade_riscv::csr::{envcfg, stateen, status};

/// Whether `found` may stand where Spike has `expected`: the cause of a trap.
///
/// A misaligned atomic may raise an address-misaligned or an access-fault exception (unprivileged
/// spec, "Zalrsc" and "Zaamo"). Spike does the latter; Clade the former, which says what is wrong.
pub(crate) fn is_equivalent_cause(expected: u64, found: u64) -> bool {
    matches!((expected, found), (5, 4) | (7, 6))
}

/// Whether the CSR with this number is not compared, and why.
pub(crate) fn is_different_csr(number: u16) -> bool {
    match number {
        // Each implementation has its own identity.
        MVENDORID..=MIMPID | MCONFIGPTR => true,
        // Spike has triggers for debuggers (Sdtrig); Clade debugs from outside.
        0x7a0..=0x7af | 0x5a8 => true,
        _ => false,
    }
}

/// The bits of a CSR that are not compared, and therefore not written: legal values differ.
pub(crate) fn different_bits(number: u16) -> u64 {
    match number {
        // Spike can switch off extensions; here `misa` is read-only (privileged spec 3.1.1).
        MISA => u64::MAX,
        // Spike also knows software checks and hardware errors, which Clade's harts never raise, so
        // that their bits should be read-only zero (3.1.8).
        MEDELEG => 1 << 18 | 1 << 19,
        // In Spike FIOM is read-only zero, which is for harts without paging (3.1.18). The reserved
        // value of CBIE becomes 0 there, and leaves the field as it was here.
        MENVCFG | SENVCFG => envcfg::FIOM | envcfg::CBIE,
        // The same goes for the reserved values of MPP and of the vectors' modes.
        MSTATUS => status::MPP,
        MTVEC | STVEC => 2,
        // Gates to state that Clade does not have are read-only zero (Smstateen).
        MSTATEEN0 | SSTATEEN0 => !(stateen::SE0 | stateen::ENVCFG),
        // Clade's further counters are read-only zero, and so are their bits (3.1.10, 3.1.12).
        MCOUNTINHIBIT => !0b101,
        _ => 0,
    }
}
