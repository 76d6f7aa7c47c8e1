//! The machine's own process: this program in another role. Not for people.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// The hidden verb's name.
pub(crate) const NAME: &str = "machine-process";

/// Becomes the process of a machine; called by `clade run` and `clade start`.
#[derive(Debug, clap::Args)]
pub(crate) struct MachineProcess {
    folder: PathBuf,
    sockets: PathBuf,
    /// The folder in which the machine is kept, if it is to go on from there.
    saved: Option<PathBuf>,
}

impl MachineProcess {
    pub(crate) fn run(self) -> ExitCode {
        clade_vmm::process::run(&self.folder, &self.sockets, self.saved.as_deref())
    }
}

/// This very program, even if its file was replaced meanwhile, in the role of a machine.
pub(crate) fn command() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("clade").arg(NAME);
    command
}
