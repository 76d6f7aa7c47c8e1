//! Registers that an operating system with ACPI finds by a machine's tables: sleep and reset, and the
//! events that its methods are told of. For hardware-reduced machines, which have no others but for what
//! a PC's firmware wants.
//!
//! Section numbers are those of the ACPI Specification 6.5.

mod events;
mod fixed;
mod power;

pub use events::{AcpiEvents, AcpiEventsState, Event};
pub use fixed::{PmControl, PmTimer};
pub use power::{PowerRegisters, RESET_VALUE, SLEEP_CONTROL, SLEEP_OFF, SLEEP_STATUS};
