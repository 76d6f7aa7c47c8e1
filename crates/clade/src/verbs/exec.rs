//! `clade exec`

use std::env;
use std::process::ExitCode;

use clade_guest::{Command, Error};
use clade_manager::Machines;

use crate::failure::Failure;
use crate::remote::{self, Remote};
use crate::settle;

/// Run a command in a running machine.
///
/// Its output and its exit status are this command's; 128 and the signal's number if a signal ended
/// it, 126 or 127 if the guest cannot start it, 125 if Clade failed. Signals are passed on.
#[derive(Debug, clap::Args)]
pub(crate) struct Exec {
    #[command(flatten)]
    options: Options,
    /// The machine: a name, an id, or the beginning of either.
    machine: String,
    /// The command and its arguments, taken as they are. For a shell's services say `sh -c '...'`.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// How a command is to be run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Pass standard input on to the command; without it, the command finds none.
    #[arg(long, short)]
    interactive: bool,
    /// Give the command a terminal.
    #[arg(long, short)]
    tty: bool,
    /// Set a variable in the command's environment; without VALUE, to what it is here.
    #[arg(long, short, value_name = "NAME[=VALUE]", value_parser = variable)]
    env: Vec<(String, String)>,
    /// The folder that the command starts in.
    #[arg(long, short, value_name = "FOLDER")]
    workdir: Option<String>,
    /// The user that the command runs as, in place of root.
    #[arg(long, short)]
    user: Option<String>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, value.to_owned()),
        None => {
            let value = env::var(text).map_err(|_| format!("'{text}' is not set here"))?;
            (text, value)
        }
    };
    if name.is_empty() {
        return Err("a variable has a name".to_owned());
    }
    Ok((name.to_owned(), value))
}

impl Exec {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machine = Machines::of_user()?.find(&self.machine)?;
        let interactive = self.options.interactive;
        let command = self.options.command(self.command)?;
        let remote = Remote::start(settle::enter(&machine)?, command)
            .map_err(|error| explain(error, &machine.spec.name))?;
        let exit = remote.serve(interactive)?;
        Ok(ExitCode::from(remote::status(&exit)?))
    }
}

impl Options {
    fn command(self, arguments: Vec<String>) -> Result<Command, Failure> {
        Ok(Command {
            arguments,
            environment: self.env,
            folder: self.workdir,
            user: self.user,
            terminal: self.tty.then(remote::terminal).transpose()?,
            ..Command::default()
        })
    }
}

/// Says which machine it is that cannot be reached, and what may help.
pub(crate) fn explain(error: Error, name: &str) -> Failure {
    let remedy = match error {
        Error::NotReady => {
            format!(
                "\n`clade wait {name} --for ready` waits until it is up, `clade logs {name}` shows how \
                 far it is."
            )
        }
        Error::NoSocket(_) => format!("\n`clade restart {name}` makes one."),
        _ => String::new(),
    };
    Failure::new(format!("cannot run anything in '{name}': {error}{remedy}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_given_or_taken_from_here() {
        assert_eq!(variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(variable("A="), Ok(("A".into(), String::new())));
        let path = env::var("PATH").unwrap();
        assert_eq!(variable("PATH"), Ok(("PATH".into(), path)));
        assert!(variable("=x").is_err());
        assert!(variable("CLADE_NO_SUCH_VARIABLE").is_err());
    }
}
