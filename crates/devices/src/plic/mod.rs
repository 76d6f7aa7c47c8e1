//! The platform-level interrupt controller, as SiFive built it and QEMU's `virt` board carries
//! it: 95 sources, priorities 0 to 7, two contexts (M-mode, then S-mode) for each hart.
//!
//! Section numbers are those of the RISC-V Platform-Level Interrupt Controller Specification 1.0.0.

mod device;
mod rules;
mod state;
#[cfg(test)]
mod tests;

pub use device::{Plic, SIZE};
pub use state::{ContextState, PlicState};

/// Number of sources, counting source 0, which does not exist.
pub const SOURCES: usize = 96;

/// Words of a bitmap over all sources.
pub const WORDS: usize = SOURCES / 32;

/// The highest priority of a source.
pub const MAX_PRIORITY: u8 = 7;
