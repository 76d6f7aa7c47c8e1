//! The host's side of the socket device.
//!
//! Programs on the host connect to the Unix socket [`SOCKET_FILE`] in the machine's folder, write
//! `CONNECT PORT\n`, and are connected to what listens on that port in the guest once they read
//! `OK PORT\n`; the number is their own port then. If nothing listens there, the socket closes.
//! Where a machine allows it, the guest's own connections to port PORT of the host go to the Unix
//! socket `vsock.sock_PORT` beside it. This is how other monitors have it, too.

mod backend;
mod handshake;
mod notify;
mod stream;
mod worker;

pub(crate) use backend::VsockBackend;
pub(crate) use notify::OnReady;
pub(crate) use worker::VsockWorker;

/// Name of the socket in a machine's folder for connections to the guest.
pub const SOCKET_FILE: &str = "vsock.sock";

/// The port of the host at which a guest says that it is ready, as systemd does it
/// (`vmm.notify_socket`).
pub const NOTIFY_PORT: u32 = 8;
