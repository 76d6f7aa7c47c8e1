//! Machines by name on this host: create, start, find, stop, remove.
//!
//! There is no daemon. Each machine has a folder that lasts, in the user's data folder: its
//! specification, its logs, its disks, a record of its latest life, and a lock file. While it runs it
//! is a process of its own, which holds the lock for as long as it lives, and has a second folder for
//! its sockets in the user's runtime folder. So whoever looks knows from lock and record how a machine
//! is, however its process went.

mod branch;
mod choose;
mod create;
mod error;
mod host;
mod logs;
mod machine;
mod machines;
mod memory;
mod names;
mod pause;
mod remove;
mod start;
mod state;
mod stop;
#[cfg(test)]
mod testing;
mod wait;
mod warm;

pub use branch::{
    CloneOrder, ImportOrder, SnapshotNames, SnapshotOptions, TEMPLATE_KEY_FILE, TemplateImport,
    machine_of,
};
pub use clade_store::snapshots::{Size, Snapshot, Snapshots};
pub use create::{Draft, Order};
pub use error::Error;
pub use host::{Host, MAX_CPUS, MIN_MEMORY};
pub use logs::LogError;
pub use machine::Machine;
pub use machines::{Machines, Survey, Unreadable};
pub use names::{check_name, friendly_name};
pub use start::Started;
pub use state::State;
pub use stop::Stopped;
pub use wait::{Goal, Waited};
pub use warm::{Making, WarmImage, WarmImages};
