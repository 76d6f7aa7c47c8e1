//! The way into a guest: commands by SSH, over the guest's socket device.
//!
//! A machine's process keeps a Unix socket that leads to the ports of the guest's socket device, and
//! at port 22 a guest has an SSH server. [`Process::start`] runs a command there; [`Key`] is what
//! lets it in.
//!
//! The server's own key is taken as it comes: the socket lies in a folder of this user's alone, and
//! leads to nobody but the guest that is meant.

mod command;
mod error;
mod key;
mod process;
mod session;
mod socket;
mod stream;

pub use command::{Command, Terminal};
pub use error::Error;
pub use key::Key;
pub use process::{Connection, Control, Exit, Process, Streams};
pub use socket::{connect, is_ready};
pub use stream::{Input, Output};

/// The port of the guest's SSH server.
pub const PORT: u32 = 22;
