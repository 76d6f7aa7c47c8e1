//! The advanced platform-level interrupt controller, as QEMU's `virt` board carries it next to
//! IMSICs: 96 sources, whose interrupts become messages to the harts.
//!
//! Section numbers are those of *The RISC-V Advanced Interrupt Architecture*, version 1.0.

mod device;
mod domain;
mod state;
#[cfg(test)]
mod tests;

pub use device::{Aplic, AplicDomain, SIZE};
pub use state::{AplicState, DomainState};

/// The highest number of a source; the lowest is 1.
pub const SOURCES: usize = 96;

/// Words of a bitmap over all sources and source 0, which does not exist.
pub const WORDS: usize = SOURCES / 32 + 1;
