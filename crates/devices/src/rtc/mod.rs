//! The Goldfish real-time clock (`google,goldfish-rtc`), as QEMU's `virt` board carries it.
//!
//! Register layout: Android's "Goldfish virtual hardware" document, section "Goldfish RTC".

mod device;
mod state;

pub use device::{Rtc, SIZE};
pub use state::RtcState;
