//! The real-time clock of a PC with its memory: a Motorola MC146818, whose data sheet has the registers.

mod calendar;
mod device;
mod state;

pub use device::{Cmos, SIZE};
pub use state::CmosState;
