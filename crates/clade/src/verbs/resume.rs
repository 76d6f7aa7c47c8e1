//! `clade resume`

use std::process::ExitCode;

use clade_manager::{Machine, Machines};

use crate::failure::Failure;
use crate::verbs::machine_process;
use crate::verbs::run::leave_running;
use crate::waiting::Waiting;
use crate::{settle, several};

/// Let machines go on that were paused or suspended.
#[derive(Debug, clap::Args)]
pub(crate) struct Resume {
    /// The machines: names, ids, or the beginning of either.
    #[arg(required = true, value_name = "MACHINE")]
    machines: Vec<String>,
}

impl Resume {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machines = several::find(&Machines::of_user()?, &self.machines)?;
        several::each(&machines, &Waiting::default(), resume)
    }
}

pub(super) fn resume(machine: &Machine) -> Result<(), Failure> {
    if let Some((started, connection)) = machine.resume(machine_process::command())? {
        leave_running(started, connection)?;
    }
    Ok(settle::in_background(std::slice::from_ref(
        &machine.spec.name,
    ))?)
}
