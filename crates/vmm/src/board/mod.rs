//! The board: what devices there are, where, and how they are wired.

mod clock;
mod console;
mod entropy;
mod flash;
mod generation;
mod interrupts;
pub mod map;
mod peripherals;
mod ram;
mod rom;
mod state;
mod timers;
mod virt;

pub use flash::{FlashError, FlashFiles};
pub use state::{BoardState, WiresState};
pub use virt::{Board, BoardError, Origin};
