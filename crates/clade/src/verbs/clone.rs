//! `clade clone`

use std::io::{self, Write};
use std::process::ExitCode;

use clade_manager::{CloneOrder, Error, Machines, Started};
use clade_vmm::control::Connection;

use crate::failure::Failure;
use crate::settle;
use crate::snapshots::{self, Meant};
use crate::verbs::machine_process;
use crate::verbs::run::{left_running, let_run};

/// Make new machines that go on from where another is, or from a snapshot or template.
///
/// They run at once and on their own, and share all memory and disk that neither writes. A machine that
/// runs stands still for a moment, once, however many clones there are.
#[derive(Debug, clap::Args)]
pub(crate) struct Clone {
    /// The machine, template or snapshot, looked for in this order: a name, MACHINE@TAG, an id, or the beginning of an id.
    source: String,
    /// How many.
    #[arg(short, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    number: u32,
    /// The clone's name, in place of a random one.
    #[arg(long, conflicts_with = "name_prefix")]
    name: Option<String>,
    /// Call the clones PREFIX-1, PREFIX-2 and so on.
    #[arg(long, value_name = "PREFIX")]
    name_prefix: Option<String>,
    /// Remove each clone, with all that it has, when it ends.
    #[arg(long)]
    rm: bool,
    /// Let the clones' guests keep the host name, machine ID, Ethernet address and SSH host keys that they have.
    #[arg(long)]
    keep_identity: bool,
}

impl Clone {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        if self.name.is_some() && self.number > 1 {
            return Err(Failure::new(
                "one name cannot be that of several clones; use --name-prefix",
            ));
        }
        let machines = Machines::of_user()?;
        let names = (1..=self.number).map(|number| match (&self.name, &self.name_prefix) {
            (Some(name), _) => Some(name.clone()),
            (_, Some(prefix)) => Some(format!("{prefix}-{number}")),
            _ => None,
        });
        let order = CloneOrder {
            names: names.collect(),
            temporary: self.rm,
            keep_identity: self.keep_identity,
            ..CloneOrder::default()
        };
        if !snapshots::is_of_machine(&self.source)
            && let Err(Error::NotFound { .. }) = machines.find(&self.source)
            && let Some(template) = machines.template(&self.source)?
        {
            return make(&machines, &Meant::Snapshot(Box::new(template)), &order);
        }
        make(
            &machines,
            &snapshots::find(&machines, &self.source)?,
            &order,
        )
    }
}

/// Makes clones of a machine or snapshot, and prints their names.
pub(super) fn make(
    machines: &Machines,
    source: &Meant,
    order: &CloneOrder,
) -> Result<ExitCode, Failure> {
    let mut names = Vec::new();
    let mut let_go = |mut made: Vec<(Started, Connection)>| {
        // All at once: guests that run already keep the others waiting for a processor.
        made.iter_mut()
            .for_each(|(_, connection)| let_run(connection));
        names.extend(made.iter().map(|(started, _)| started.spec.name.clone()));
        let mut left = Ok(());
        for (started, connection) in made {
            let name = started.spec.name.clone();
            let told = left_running(started, connection).and_then(|()| {
                writeln!(io::stdout(), "{name}").map_err(|error| Failure::of_output(&error))
            });
            left = left.and(told);
        }
        left
    };
    let program = &machine_process::command;
    let made = match source {
        Meant::Snapshot(snapshot) => machines.clone_snapshot(snapshot, order, program, &mut let_go),
        Meant::Machine(machine) => {
            let snapshots = machines.snapshots()?;
            machines.clone_machine(machine, &snapshots, order, program, &mut let_go)
        }
    };
    settle::in_background(&names)?;
    made.map(|()| ExitCode::SUCCESS)
}
