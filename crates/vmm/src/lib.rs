//! One machine in one process: builds the board, runs the vCPUs, serves its control socket.

pub mod backends;
pub mod board;
pub mod console;
pub mod control;
pub mod fdt;
pub mod folder;
pub mod io_thread;
pub mod loader;
pub mod machine;
pub mod network;
pub mod outcome;
pub mod process;
pub mod record;
pub mod saved;
pub mod saved_memory;
pub mod spec;
pub mod stats;
pub mod vsock;

mod boot_files;
mod descriptors;
mod gate;
mod life;
mod page_set;
mod sandbox;
mod serial;
mod shares;
mod watch;
