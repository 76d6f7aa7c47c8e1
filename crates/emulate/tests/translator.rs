//! The directed tests once more, with everything translated: `common::machine::tuning` sees which
//! crate it is compiled for.
#![allow(clippy::duplicate_mod)] // Each has its own `common`, as it is a crate of its own elsewhere.

#[path = "aia.rs"]
mod aia;
#[path = "harts.rs"]
mod harts;
#[path = "priv_code.rs"]
mod priv_code;
#[path = "priv_instructions.rs"]
mod priv_instructions;
#[path = "priv_interrupts.rs"]
mod priv_interrupts;
#[path = "priv_memory.rs"]
mod priv_memory;
#[path = "sbi.rs"]
mod sbi;
#[path = "spins.rs"]
mod spins;
#[path = "state.rs"]
mod state;
