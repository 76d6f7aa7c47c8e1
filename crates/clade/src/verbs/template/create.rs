//! `clade template create`

use std::process::ExitCode;

use clade_guest::{Command, Key};
use clade_manager::{Error, Machine, Machines};
use clade_store::FileName;
use tempfile::TempDir;

use crate::failure::Failure;
use crate::remote::{self, Remote};
use crate::settle;
use crate::size;
use crate::verbs::exec::explain;
use crate::waiting::Waiting;

/// Freeze a machine as it is now, or a snapshot, as a template.
///
/// The machine goes on as it was. One that has stopped gives a template that boots.
#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// What to call the template.
    name: String,
    /// The machine or snapshot: a name, MACHINE@TAG, an id, or the beginning of an id.
    #[arg(long, value_name = "SOURCE")]
    from: String,
    /// Run this in the machine's shell first, so that what is needed soon is in memory.
    #[arg(long, value_name = "COMMAND")]
    warm: Option<String>,
}

impl Create {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let machines = Machines::of_user()?;
        let name = machines.check_template_name(&self.name)?;
        super::check_is_no_image(&self.name)?;
        match machines.find(&self.from) {
            Ok(machine) => freeze(&machine, &name, self.warm)?,
            Err(Error::NotFound { .. }) if self.warm.is_none() => {
                let snapshot = machines.find_snapshot(&self.from)?;
                machines.template_of(&snapshot, &name)?;
            }
            Err(Error::NotFound { .. }) if machines.find_snapshot(&self.from).is_ok() => {
                return Err(Failure::new(format!(
                    "a command cannot run in {0}, a snapshot\n\
                     Make a machine of it with `clade clone {0}`, and the template of that.",
                    self.from
                )));
            }
            Err(error) => return Err(error.into()),
        }
        super::print(&self.name)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn freeze(machine: &Machine, name: &FileName, warm: Option<String>) -> Result<(), Failure> {
    // A kernel of the user's own has nobody who could be told of a key.
    let is_entered = machine.state.is_live() && machine.spec.image.is_some();
    if let Some(command) = warm {
        run_in(machine, &[&command])?;
    }
    let door = match is_entered && !machine.status()?.paused {
        true => Some(Door::open(machine)?),
        false => None,
    };
    let waiting = Waiting::default();
    let shown = waiting.begin(&format!("freezing {}", machine.spec.name), None);
    let key = door.as_ref().map(|door| door.key.path());
    let frozen = machine.freeze(name, key, &mut |bytes| {
        let name = &machine.spec.name;
        shown.set_message(format!("freezing {name} · {}", size::show(bytes)));
    });
    waiting.end(shown);
    let closed = door.map_or(Ok(()), |door| door.close(machine));
    frozen?;
    closed
}

/// A key of the template's own, which the guest lets in while it is frozen: so whoever has the template
/// can tell the guests of machines made from it who their user is, see [`crate::settle`].
struct Door {
    key: Key,
    _folder: TempDir,
}

/// `sh -c SCRIPT sh TEMPLATE-KEY USER-KEY`. The file is that of PID 1, whatever root commands have.
/// Whose template it is stands in the comment.
const OPEN: &str = r#"
keys=/proc/1/root/root/.ssh/authorized_keys
umask 077
mkdir -p "${keys%/*}" && echo "ssh-ed25519 $1 $2" >>$keys
"#;

/// `sh -c SCRIPT sh TEMPLATE-KEY`
const CLOSE: &str = r#"
keys=/proc/1/root/root/.ssh/authorized_keys
left=$(grep -vF "$1" $keys)
echo "$left" >$keys
"#;

impl Door {
    fn open(machine: &Machine) -> Result<Self, Failure> {
        let folder = TempDir::new()?;
        let key = Key::in_folder(&folder.path().join("ssh"))?;
        let door = Self {
            key,
            _folder: folder,
        };
        let user = Key::of_user()?;
        run_in(machine, &[OPEN, "sh", &door.key.base64(), &user.base64()])?;
        Ok(door)
    }

    fn close(&self, machine: &Machine) -> Result<(), Failure> {
        run_in(machine, &[CLOSE, "sh", &self.key.base64()])
    }
}

/// Runs a script in the machine's shell, which must succeed. Nothing of what it prints is data of ours.
fn run_in(machine: &Machine, script: &[&str]) -> Result<(), Failure> {
    let name = &machine.spec.name;
    let shell = ["sh", "-c", "exec sh -c \"$@\" >&2", "sh"];
    let command = Command {
        arguments: shell
            .iter()
            .chain(script)
            .map(ToString::to_string)
            .collect(),
        ..Command::default()
    };
    let remote =
        Remote::start(settle::enter(machine)?, command).map_err(|error| explain(error, name))?;
    let exit = remote.serve(false)?;
    match remote::status(&exit)? {
        0 => Ok(()),
        status => Err(Failure::new(format!(
            "a command in '{name}' ended with status {status}: {}",
            script[0].trim()
        ))),
    }
}
