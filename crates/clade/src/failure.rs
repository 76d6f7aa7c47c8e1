//! Why a verb failed, said once, on standard error.

use std::fmt::Display;
use std::io;
use std::process::ExitCode;

use clade_vmm::outcome::CLADE_FAILED;

use crate::style;

/// Why a verb failed. Anything that can be shown becomes one.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What happened, to what, and what to do next.
    Told(String),
    /// Whoever read standard output is gone (`clade ps | head`); there is nobody to be told.
    OutputClosed,
}

impl Failure {
    pub(crate) fn new(text: impl Display) -> Self {
        Failure::Told(text.to_string())
    }

    /// The same, with more to say.
    pub(crate) fn and(self, more: &str) -> Self {
        match self {
            Failure::Told(text) => Failure::Told(format!("{text}\n{more}")),
            closed @ Failure::OutputClosed => closed,
        }
    }

    /// An error in writing to standard output.
    pub(crate) fn of_output(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::Told(format!("cannot write to standard output: {error}")),
        }
    }

    pub(crate) fn show(self) -> ExitCode {
        match self {
            Failure::Told(text) => {
                style::talk(&text);
                ExitCode::from(CLADE_FAILED)
            }
            Failure::OutputClosed => ExitCode::from(128 + 13),
        }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::new(error)
    }
}
