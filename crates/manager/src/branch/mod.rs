//! Snapshots of machines, and machines that go on from them.
//!
//! A snapshot is a folder that has, by hard links, all that it needs; see [`clade_store::snapshots`].
//! A machine's own folder likewise has its disks' layers, and those of memory that it would need for the
//! next snapshot. So nobody counts who needs what: the file system does.

mod clone;
mod code_cache;
mod disks;
mod files;
mod find;
mod import;
mod keep;
mod merge;
mod restore;
mod restored;
mod settle;
mod snapshot;
mod suspend;
mod template;

pub use clone::CloneOrder;
pub use find::SnapshotNames;
pub use import::{ImportOrder, TemplateImport};
pub(crate) use restored::finish as finish_restoration;
pub use snapshot::SnapshotOptions;
pub use template::{TEMPLATE_KEY_FILE, machine_of};
