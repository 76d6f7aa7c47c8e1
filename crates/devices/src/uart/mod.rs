//! The 16550A serial port.
//!
//! It is our own and not `vm-superio`'s: that one announces interrupts by edges only, clears
//! received-data interrupts when IIR is read and ignores FCR, none of which suits an interrupt
//! controller that looks at levels.
//!
//! Section numbers are those of the National Semiconductor PC16550D data sheet (June 1995).

mod device;
mod registers;
mod state;
#[cfg(test)]
mod tests;

pub use device::{SIZE, Uart};
pub use state::UartState;
