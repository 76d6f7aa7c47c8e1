//! The control socket of a machine: how other processes attach to its console, ask for its status
//! and stop it.
//!
//! Both directions carry frames: raw console bytes, or a message in JSON. A client that
//! has sent [`Request::Attach`] gets the console's output; it may send input as far as its window
//! ([`crate::console::INPUT_WINDOW`]) allows, which [`Event::InputTaken`] opens again.

mod client;
mod files;
mod server;
mod snapshot;
mod stop;
mod wire;

use serde::{Deserialize, Serialize};

use crate::machine::Taken;
use crate::outcome::Outcome;
use crate::stats::MachineStats;

pub use client::{Connection, Receiver, Sender};
pub use server::ControlServer;
pub(crate) use server::refuse;
pub use snapshot::{MemoryOrder, SnapshotOrder};
pub use stop::StopSwitch;
pub use wire::{FRAME_LIMIT, WireError};

/// Name of the socket in a machine's folder.
pub const SOCKET_FILE: &str = "control.sock";

/// Size of a terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Characters in a row.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// What a client asks of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Send the console's recent and further output, and take input.
    Attach {
        /// The size of the client's terminal, if it has one.
        size: Option<TerminalSize>,
    },
    /// The client's terminal has this size now.
    Resize(TerminalSize),
    /// The client leaves; the machine goes on without it.
    Detach,
    /// Press the power button, which asks the guest to power off.
    PowerButton,
    /// Ask the guest to make do with so much memory.
    LimitMemory {
        /// Bytes.
        bytes: u64,
    },
    /// Freeze the machine in memory.
    Pause,
    /// Let it go on.
    Resume,
    /// Keep the machine as it is, in files that are sent ([`Sender::files`]) once it asks for them.
    Snapshot(SnapshotOrder),
    /// Write what the engine has made of the guest's code to a file, which is empty and is sent
    /// ([`Sender::files`]) once the machine asks for it.
    SaveCodeCache,
    /// Stop the machine at once.
    Stop,
    /// Say how the machine is.
    Status,
}

/// What a machine tells a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The machine is built and about to run.
    Ready,
    /// The machine cannot be built; the text is for people.
    Refused {
        /// What happened, to what, and what to do next.
        reason: String,
    },
    /// The answer to [`Request::Status`].
    Status(Status),
    /// The answer to [`Request::PowerButton`].
    PowerButton {
        /// Whether a driver of the guest took note. None does before its kernel has one.
        heard: bool,
    },
    /// The answer to [`Request::LimitMemory`].
    MemoryLimited {
        /// Whether a driver of the guest took note.
        heard: bool,
    },
    /// The answer to [`Request::Pause`].
    Paused {
        /// Whether it ran before.
        changed: bool,
    },
    /// The answer to [`Request::Resume`].
    Resumed {
        /// Whether it was paused before.
        changed: bool,
    },
    /// Send the files that what was asked for needs.
    SendFiles,
    /// So much of the machine's memory was written for a snapshot.
    SnapshotProgress {
        /// Pages.
        pages: u64,
    },
    /// The machine was kept, and [`Request::Snapshot`] is done. The files are not synced.
    SnapshotTaken(Taken),
    /// The machine was not kept. It runs on.
    SnapshotFailed {
        /// What happened, to what, and what to do next.
        reason: String,
        /// Of each disk, in order, whether its new layer is in use nevertheless; those that are not
        /// named are as they were.
        switched: Vec<bool>,
    },
    /// The answer to [`Request::SaveCodeCache`].
    CodeCacheSaved {
        /// Whether there was anything.
        written: bool,
    },
    /// What was asked for cannot be done; the text is for people.
    Failed {
        /// What happened, to what, and what to do next.
        reason: String,
    },
    /// The guest took this many bytes of the client's input.
    InputTaken {
        /// How many.
        bytes: usize,
    },
    /// The guest says that it is ready to be worked with.
    GuestReady,
    /// The guest reset the machine, which starts again.
    Restarted,
    /// The answer to [`Request::Detach`].
    Detached,
    /// What was done in the machine's life; it ended.
    Stats(MachineStats),
    /// The machine's life ended; nothing follows.
    Ended(Outcome),
}

/// How a running machine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The machine's process.
    pub pid: u32,
    /// Whether the machine runs, or is paused, and is neither about to be let go by whoever starts it
    /// nor about to end.
    pub begun: bool,
    /// Whether the machine ends with the command that started it.
    pub foreground: bool,
    /// Whether the guest has said, since it last started, that it is ready to be worked with.
    #[serde(default)]
    pub ready: bool,
    /// Whether the machine was paused.
    #[serde(default)]
    pub paused: bool,
    /// Seconds since the machine started.
    pub uptime: u64,
}

/// A frame from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromClient {
    /// Bytes for the guest's console.
    Input(Vec<u8>),
    /// A request.
    Request(Request),
}

/// A frame from a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromMachine {
    /// Bytes that the guest printed.
    Output(Vec<u8>),
    /// An event.
    Event(Event),
}
