//! `clade completions`

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::failure::Failure;

/// Print what a shell needs to complete `clade` commands.
///
/// bash: clade completions bash > ~/.local/share/bash-completion/completions/clade.
/// zsh: clade completions zsh > a file called _clade in a folder of $fpath.
/// fish: clade completions fish > ~/.config/fish/completions/clade.fish.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut crate::Command::command(),
            "clade",
            &mut script,
        );
        io::stdout()
            .write_all(&script)
            .map_err(|error| Failure::of_output(&error))?;
        Ok(ExitCode::SUCCESS)
    }
}
