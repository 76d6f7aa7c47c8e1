//! `clade man`

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::failure::Failure;

/// Write the manual pages of `clade` and of each of its verbs into a folder.
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// The folder, made if missing; man(1) finds pages in ~/.local/share/man/man1.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
}

impl Man {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        fs::create_dir_all(&self.output)
            .and_then(|()| clap_mangen::generate_to(crate::Command::command(), &self.output))
            .map_err(|error| {
                let folder = self.output.display();
                Failure::new(format!(
                    "cannot write the manual pages into {folder}: {error}"
                ))
            })?;
        Ok(ExitCode::SUCCESS)
    }
}
