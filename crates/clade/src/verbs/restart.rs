//! `clade restart`

use std::process::ExitCode;

use clade_manager::Machines;

use crate::failure::Failure;
use crate::several;
use crate::verbs::start;
use crate::verbs::stop::Grace;
use crate::waiting::Waiting;

/// Stop machines as `clade stop` does, and start them again.
#[derive(Debug, clap::Args)]
pub(crate) struct Restart {
    /// The machines: names, ids, or the beginning of either.
    #[arg(required = true, value_name = "MACHINE")]
    machines: Vec<String>,
    #[command(flatten)]
    grace: Grace,
}

impl Restart {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machines = several::find(&Machines::of_user()?, &self.machines)?;
        if let Some(machine) = machines.iter().find(|machine| machine.spec.temporary) {
            let name = &machine.spec.name;
            return Err(Failure::new(format!(
                "machine '{name}' is removed when it stops, so it cannot start again\n\
                 Run machines that are to last with `--name` or `-d`, and without `--rm`."
            )));
        }
        let waiting = Waiting::default();
        several::each(&machines, &waiting, |machine| {
            self.grace.stop(machine, &waiting)?;
            start::start(machine)
        })
    }
}
