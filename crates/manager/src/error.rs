//! Why something could not be done with a machine; every text is for people.

use std::io;
use std::path::PathBuf;

/// Why something could not be done with a machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no safe place for the machines' folders.
    #[error(transparent)]
    Store(#[from] clade_store::Error),
    /// The operating system refused something.
    #[error("cannot {doing} {}: {source}{}", path.display(), advice(source))]
    Io {
        /// What was being done, as a verb phrase: "create folder".
        doing: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// The operating system's reason.
        source: io::Error,
    },
    /// A name that no machine may have.
    #[error(
        "'{name}' is no name for a machine: {reason}\n\
         Use up to 63 letters, digits, '-', '_' and '.', starting with a letter or digit."
    )]
    BadName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Another machine has that name.
    #[error(
        "a machine called '{name}' is running already\n\
         Choose another name with `--name`, attach to it with `clade console {name}`, or end it \
         with `clade stop {name}`."
    )]
    NameTaken {
        /// The name.
        name: String,
    },
    /// No machine is meant.
    #[error("no machine is called '{text}', nor has an id or name that starts so{}", running(.known))]
    NotFound {
        /// What was asked for.
        text: String,
        /// The names of the machines that run.
        known: Vec<String>,
    },
    /// More than one machine is meant.
    #[error(
        "'{text}' could be any of several machines: {}\nWrite enough of the name to tell them apart.",
        matches.join(", ")
    )]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// The machines that it could mean.
        matches: Vec<String>,
    },
    /// More or fewer virtual CPUs than the host can carry.
    #[error("{cpus} virtual CPUs are {problem}\nGive `--cpus` a number from 1 to {most}.")]
    Cpus {
        /// How many were asked for.
        cpus: u32,
        /// What is wrong.
        problem: String,
        /// The most that this host carries.
        most: u32,
    },
    /// More or less memory than the host can give.
    #[error("{problem}\n{remedy}")]
    Memory {
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// The machine cannot be built; the text is the builder's own.
    #[error("{0}")]
    Refused(String),
    /// The machine's process ended without a word.
    #[error(
        "the process of machine '{name}' died unexpectedly ({how}){log}\n\
         This is a bug in Clade, or the host ended it (out of memory?). Please report it with \
         this text."
    )]
    Died {
        /// The machine.
        name: String,
        /// The exit status or signal.
        how: String,
        /// What it last wrote to its log.
        log: String,
    },
    /// The machine does not answer.
    #[error(
        "machine '{name}' does not answer: {reason}\nIf it stays so, end its process{}.",
        pid.map(|pid| format!(" with `kill -KILL {pid}`")).unwrap_or_default()
    )]
    NoAnswer {
        /// The machine.
        name: String,
        /// Why not.
        reason: String,
        /// Its process, if it is known.
        pid: Option<u32>,
    },
}

impl Error {
    pub(crate) fn io(
        doing: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io {
            doing,
            path,
            source,
        }
    }
}

fn advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "\nFree some space there, or set XDG_RUNTIME_DIR to a private folder on another disk."
        }
        io::ErrorKind::PermissionDenied => "\nSet XDG_RUNTIME_DIR to a folder that you own.",
        _ => "",
    }
}

fn running(known: &[String]) -> String {
    if known.is_empty() {
        "\nNo machine is running; `clade run` starts one.".to_owned()
    } else {
        format!("\nRunning: {}.", known.join(", "))
    }
}
