//! Machines by name on this host: create, start, find, stop.
//!
//! There is no daemon. Each machine is a process of its own with a folder of its own, which holds
//! its specification, its control socket, its logs and a lock file. The process holds the lock for
//! as long as it lives, so a folder whose lock is free belongs to a machine that is gone, however
//! it went; whoever comes by next clears it away.

mod error;
mod host;
mod machines;
mod names;
mod start;

pub use error::Error;
pub use host::{Host, MAX_CPUS, MIN_MEMORY};
pub use machines::{Machine, Machines};
pub use names::{check_name, friendly_name};
pub use start::{Order, Started};
