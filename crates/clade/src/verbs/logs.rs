//! `clade logs`

use std::io;
use std::process::ExitCode;

use clade_manager::{LogError, Machines};

use crate::failure::Failure;

/// Print what a machine wrote on its console: all its lives, the last 16 MiB at least.
#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    /// The machine: its name, its id, or the beginning of either.
    machine: String,
    /// Go on with what it writes from now on, until it ends.
    #[arg(long, short)]
    follow: bool,
    /// Only the last so many lines of what there is.
    #[arg(long, short = 'n', value_name = "LINES")]
    tail: Option<usize>,
}

impl Logs {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machine = Machines::of_user()?.find(&self.machine)?;
        let mut stdout = io::stdout().lock();
        let shown = if self.follow {
            machine.follow_log(self.tail, &mut stdout)
        } else {
            machine.copy_log(self.tail, &mut stdout)
        };
        match shown {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(LogError::Output(error)) => Err(Failure::of_output(&error)),
            Err(error) => Err(Failure::new(error)),
        }
    }
}
