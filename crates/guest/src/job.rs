//! A command that is to be run, whichever way.

use bytes::Bytes;
use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver};
use tokio::sync::oneshot;

use crate::{Command, Error, Exit};

/// What is asked of a running command.
#[derive(Debug)]
pub(crate) enum Request {
    Signal(&'static str),
    Resize((u16, u16)),
    HangUp,
}

/// The ends of a command's streams on this side.
pub(crate) struct Plugs {
    pub(crate) input: Receiver<Bytes>,
    pub(crate) output: Sender<Bytes>,
    pub(crate) errors: Sender<Bytes>,
    pub(crate) requests: UnboundedReceiver<Request>,
}

/// A command that is to be run, and who is told of it.
pub(crate) struct Job {
    pub(crate) command: Command,
    pub(crate) plugs: Plugs,
    pub(crate) started: oneshot::Sender<()>,
    pub(crate) ended: oneshot::Sender<Result<Exit, Error>>,
}
