//! The image `debian`: a Debian system on a disk of its own.
//!
//! Its packages are chosen by their dependencies, unpacked into an ext4 image, and configured by their
//! own scripts in a machine that boots from that image once. The result is kept as a template, which is
//! never written to again: machines get a layer above it.

mod database;
mod files;
mod first_boot;
mod initrd;
mod name;
mod relation;
mod resolve;
mod suites;
mod system;
mod template;
mod version;

pub use first_boot::{FirstBoot, RunMachine};
pub use template::{DebianImage, DebianRequest};

pub(crate) use name::NAME;
pub(crate) use template::{ensure, list, remove};
