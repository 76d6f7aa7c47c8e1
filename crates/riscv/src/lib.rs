//! The RISC-V architecture as plain values and pure functions.
//!
//! Nothing here executes a guest: engines do, with the instruction table ([`isa`]), the hart's
//! state ([`hart`], [`csr`]), address translation ([`mmu`], [`pmp`]), traps ([`trap`]) and
//! floating point ([`fp`]) of this crate. It reads no clock and no entropy.
//!
//! "Unprivileged spec" and "privileged spec" in comments are volumes I and II of *The RISC-V
//! Instruction Set Manual*, release 20250508.

pub mod csr;
pub mod fp;
pub mod hart;
pub mod imsic;
pub mod isa;
pub mod mmu;
pub mod pmp;
pub mod trap;
