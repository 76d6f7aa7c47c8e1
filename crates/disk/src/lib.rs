//! Disks of machines: the host's side of the virtio block device.
//!
//! [`open`] opens and locks a file and all that it depends on, once, before the machine's process
//! is confined; the [`Disk`] it returns survives a reset of the guest. Raw files are read and
//! written by this crate, straight from and to guest memory; qcow2 is `imago`'s work.

mod disk;
mod error;
mod file;
mod format;
mod immediate;
mod lock;
mod open;
mod patient;
mod qcow2;
#[cfg(test)]
mod tests;
mod uring;
mod vectored;

pub use disk::{Branching, Disk};
pub use error::DiskError;
pub use format::Format;
pub use open::{capacity, files, open};
pub use qcow2::{create_overlay, merge};
