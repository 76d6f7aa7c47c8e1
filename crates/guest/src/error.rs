use std::io;

/// Why a command could not be run in a guest.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user's key.
    #[error(transparent)]
    Store(#[from] clade_store::Error),
    /// The user's key is not one.
    #[error(
        "{path} is no SSH key: {reason}\n\
         If you did not put it there, remove it; the next command makes a new one. Machines that \
         run now know only the old one."
    )]
    Key {
        /// Its file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The machine's socket.
    #[error("the machine has no socket for connections to its guest: {0}")]
    NoSocket(#[source] io::Error),
    /// Nobody listens in the guest.
    #[error(
        "nothing in the guest takes connections: it is still starting, or has neither Clade's agent nor an \
         SSH server on its socket device"
    )]
    NotReady,
    /// The guest knows another key.
    #[error(
        "the guest does not let this user's key in: the machine was started with another one, or \
         root's authorized keys were changed in it"
    )]
    Refused,
    /// The guest's server does not do what is asked of it.
    #[error("the guest's SSH server refuses {0}")]
    Request(&'static str),
    /// The agent's answer.
    #[error("the guest cannot start the command: {0}")]
    NotStarted(#[source] io::Error),
    /// The agent is of another version of Clade.
    #[error(
        "the guest's agent speaks version {0} of its language, and this Clade does not; restart the machine \
         with a newer Clade"
    )]
    Version(u32),
    /// More than Linux takes.
    #[error(
        "the command is too long: {0} bytes as a shell's line, and a guest takes 131071; pass long \
         data by standard input or `clade cp`"
    )]
    TooLong(usize),
    /// The connection broke.
    #[error("the connection to the guest failed: {0}")]
    Connection(String),
    /// The host.
    #[error("the host refuses {what}: {source}")]
    Host {
        /// What was asked for.
        what: &'static str,
        /// The host's answer.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn connection(error: &makiko::Error) -> Self {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Error::Connection(text)
    }
}
