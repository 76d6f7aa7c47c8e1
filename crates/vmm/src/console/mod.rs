//! The machine's console between its devices and whoever is attached to it.
//!
//! The [`ConsoleHub`] takes what the guest prints and hands it to every consumer: attached clients
//! and the log. Each consumer has a bounded outbox; a full one makes the guest's output
//! wait, so that nothing is lost. Input goes the other way through one queue, and each client may
//! have at most [`INPUT_WINDOW`] bytes in it: the hub tells it when the guest has taken some.

mod hub;
mod log;
mod outbox;
mod panic_watch;
mod scrollback;
#[cfg(test)]
mod tests;

pub use hub::{ConsoleHub, INPUT_WINDOW, LogThread, WindowExceeded};
pub use log::{ConsoleLog, LOG_FILE, OLD_LOG_FILE};
