//! The board: what devices there are, where, and how they are wired.

mod clock;
mod console;
pub mod map;
mod peripherals;
mod ram;
mod rom;
mod timers;
mod virt;

pub use virt::{Board, BoardError};
