//! Why something could not be done with a machine; every text is for people.

use std::io;
use std::path::PathBuf;

use crate::State;

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
    /// More memory than a machine has.
    #[error(
        "'{name}' has {has} MiB of memory, and can have no more while it exists; make another with --memory"
    )]
    TooMuchMemory {
        /// The machine.
        name: String,
        /// MiB.
        has: u64,
    },
    /// A name that no machine, or no template, may have.
    #[error(
        "'{name}' is no name for a {what}: {reason}\n\
         Use up to 63 letters, digits, '-', '_' and '.', starting with a letter or digit."
    )]
    BadName {
        /// What is to have it: "machine".
        what: &'static str,
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is a template of that name.
    #[error(
        "there is a template '{name}' already\n\
         Remove it with `clade template rm {name}`, or choose another name."
    )]
    TemplateTaken {
        /// The name.
        name: String,
    },
    /// Another machine has that name.
    #[error("there is a machine called '{name}' already, which {state}\n{remedy}")]
    NameTaken {
        /// The name.
        name: String,
        /// How the other machine is: "is running".
        state: &'static str,
        /// What to do.
        remedy: String,
    },
    /// The machine runs.
    #[error(
        "machine '{name}' is running already\n\
         Attach to it with `clade console {name}`, or start it anew with `clade restart {name}`."
    )]
    AlreadyRunning {
        /// The machine.
        name: String,
    },
    /// The machine does not run.
    #[error("machine '{name}' is not running: it {state}\n{remedy}")]
    NotRunning {
        /// The machine.
        name: String,
        /// How it is: "has stopped".
        state: &'static str,
        /// What to do.
        remedy: String,
    },
    /// The machine stands still, and cannot do what it is asked.
    #[error("machine '{name}' is paused\n`clade resume {name}` lets it go on.")]
    Paused {
        /// The machine.
        name: String,
    },
    /// The machine is on disk with its memory, which it would lose.
    #[error(
        "machine '{name}' is suspended: {reason}\n`clade resume {name}` lets it go on; {remedy}"
    )]
    Suspended {
        /// The machine.
        name: String,
        /// What that is in the way of.
        reason: &'static str,
        /// What else can be done.
        remedy: String,
    },
    /// A process has the machine, so that it cannot be changed.
    #[error(
        "machine '{name}' {state}\n\
         Stop it first with `clade stop {name}`; `clade rm -f {name}` ends and removes it at once."
    )]
    Busy {
        /// The machine.
        name: String,
        /// How it is: "is running".
        state: &'static str,
    },
    /// The machine is not of this version of Clade, or damaged.
    #[error(
        "machine '{name}' cannot be read: {reason}\n\
         Another version of Clade may have made it; `clade rm {name}` removes it."
    )]
    Unreadable {
        /// The machine.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The path of a machine's sockets would be too long.
    #[error(
        "{} is too long a path for sockets, which may have 107 bytes\n\
         Set XDG_RUNTIME_DIR to a folder with a shorter path.", folder.display()
    )]
    SocketPath {
        /// The sockets' folder.
        folder: PathBuf,
    },
    /// No machine is meant.
    #[error("no machine is called '{text}', nor has an id or name that starts so{}", list(.known))]
    NotFound {
        /// What was asked for.
        text: String,
        /// The names of the machines that there are.
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
    /// The machine cannot be kept as it is.
    #[error("machine '{name}' cannot be kept as it is: {reason}")]
    CannotKeep {
        /// The machine.
        name: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// No snapshot is meant.
    #[error("there is no snapshot '{text}'{}", list_tags(machine, tags))]
    NoSnapshot {
        /// What was asked for.
        text: String,
        /// The machine that was named.
        machine: String,
        /// The tags that it has.
        tags: Vec<String>,
    },
    /// A disk.
    #[error(transparent)]
    Disk(Box<clade_disk::DiskError>),
    /// A snapshot or a clone; the text is for people.
    #[error("{0}")]
    Branch(String),
    /// The machine does not answer.
    #[error(
        "machine '{name}' does not answer: {reason}\n\
         If it stays so, end its process with `clade kill {name}`."
    )]
    NoAnswer {
        /// The machine.
        name: String,
        /// Why not.
        reason: String,
    },
}

impl Error {
    /// The name is that of a machine in this state, or in one that cannot be told.
    pub(crate) fn taken(name: &str, state: Option<&State>) -> Self {
        let remedy = match state {
            Some(state) if state.is_live() => format!(
                "Attach to it with `clade console {name}`, end and remove it with `clade rm -f \
                 {name}`, or choose another name with `--name`."
            ),
            Some(State::Suspended { .. }) => format!(
                "`clade resume {name}` lets it go on; or choose another name with `--name`."
            ),
            Some(_) => format!(
                "Start it again with `clade start {name}`, remove it with `clade rm {name}`, or \
                 choose another name with `--name`."
            ),
            None => format!(
                "Choose another name with `--name`, or see what it is with `clade inspect {name}`."
            ),
        };
        Error::NameTaken {
            name: name.to_owned(),
            state: state.map_or("is being made or cannot be read", State::described),
            remedy,
        }
    }

    /// What is wrong with the name of a machine is wrong with that of a template.
    pub(crate) fn of_template(self) -> Self {
        match self {
            Error::BadName { name, reason, .. } => Error::BadName {
                what: "template",
                name,
                reason,
            },
            other => other,
        }
    }

    pub(crate) fn disk(error: clade_disk::DiskError) -> Self {
        Error::Disk(Box::new(error))
    }

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
            "\nFree some space there, or set XDG_DATA_HOME to a folder on another disk."
        }
        io::ErrorKind::PermissionDenied => {
            "\nSet XDG_DATA_HOME or XDG_RUNTIME_DIR to a folder that you own."
        }
        _ => "",
    }
}

fn list_tags(machine: &str, tags: &[String]) -> String {
    if tags.is_empty() {
        format!("\n`clade snapshot {machine} --tag NAME` takes one; `clade tree` shows all.")
    } else {
        format!(
            "\nThere are: {machine}@{}.",
            tags.join(&format!(", {machine}@"))
        )
    }
}

fn list(known: &[String]) -> String {
    if known.is_empty() {
        "\nThere is no machine; `clade run` makes one.".to_owned()
    } else {
        format!("\nThere are: {}.", known.join(", "))
    }
}
