//! The entropy device (section 5.4): random bytes for the guest.

mod device;

pub use device::VirtioRng;
