//! The way into a guest, over its socket device: commands by Clade's agent, which our own images have, or by
//! SSH.
//!
//! A machine's process keeps a Unix socket that leads to the ports of the guest's socket device.
//! [`Connection::open`] finds who listens there, and runs commands; [`Key`] is what an SSH server lets in.
//!
//! The server's own key is taken as it comes, and the agent wants none of ours: the socket lies in a folder of this user's
//! alone, and leads to nobody but the guest that is meant.

mod agent;
mod command;
mod error;
mod job;
mod process;
mod socket;
mod ssh;
mod stream;

pub use command::{Command, Terminal};
pub use error::Error;
pub use process::{Connection, Control, Exit, Process, Streams};
pub use socket::connect;
pub use ssh::{Key, PORT as SSH_PORT};
pub use stream::{Input, Output};
