//! The host's side of named serial ports: for each a Unix socket in the machine's folder. One
//! client at a time is connected to the port, others wait until it has gone.

mod backend;
mod socket;

pub(crate) use backend::{SerialBackend, SerialError};
