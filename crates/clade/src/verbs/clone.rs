//! `clade clone`

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Mutex, MutexGuard, PoisonError};

use clade_manager::{CloneOrder, Error, Machine, Machines, Snapshot};

use crate::failure::Failure;
use crate::settle;
use crate::snapshots::{self, Meant};
use crate::verbs::machine_process;
use crate::verbs::run::leave_running;

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
            outside: None,
        };
        if let Err(Error::NotFound { .. }) = machines.find(&self.source)
            && let Some(template) = machines.template(&self.source)?
        {
            return make(&machines, Some(&template), None, &order);
        }
        match snapshots::find(&machines, &self.source)? {
            Meant::Machine(machine) => make(&machines, None, Some(&machine), &order),
            Meant::Snapshot(snapshot) => make(&machines, Some(&snapshot), None, &order),
        }
    }
}

/// Makes clones of a snapshot, or else of a machine, and prints their names.
pub(super) fn make(
    machines: &Machines,
    snapshot: Option<&Snapshot>,
    machine: Option<&Machine>,
    order: &CloneOrder,
) -> Result<ExitCode, Failure> {
    let failed = Mutex::new(None);
    let made_names = Mutex::new(Vec::new());
    let let_go = |(started, connection): (clade_manager::Started, _)| {
        let name = started.spec.name.clone();
        let done = leave_running(started, connection).and_then(|()| {
            writeln!(io::stdout(), "{name}").map_err(|error| Failure::of_output(&error))
        });
        lock(&made_names).push(name);
        done.map_err(|failure| {
            *lock(&failed) = Some(failure);
            Error::Branch(String::new())
        })
    };
    let made = match (snapshot, machine) {
        (Some(snapshot), _) => {
            machines.clone_snapshot(snapshot, order, &machine_process::command, &let_go)
        }
        (None, Some(machine)) => machines.clone_machine(
            machine,
            &machines.snapshots()?,
            order,
            &machine_process::command,
            &let_go,
        ),
        (None, None) => Ok(()),
    };
    settle::in_background(&lock(&made_names))?;
    let failed = lock(&failed).take();
    match (made, failed) {
        (_, Some(failure)) => Err(failure),
        (made, None) => Ok(made.map(|()| ExitCode::SUCCESS)?),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
