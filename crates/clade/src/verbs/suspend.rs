//! `clade suspend`

use std::process::ExitCode;

use clade_manager::Machines;

use crate::failure::Failure;
use crate::waiting::Waiting;
use crate::{several, size};

/// Write machines to disk and free their memory, until `clade resume`.
///
/// They go on from where they were, also after this host was restarted.
#[derive(Debug, clap::Args)]
pub(crate) struct Suspend {
    /// The machines: names, ids, or the beginning of either.
    #[arg(required = true, value_name = "MACHINE")]
    machines: Vec<String>,
}

impl Suspend {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machines = several::find(&Machines::of_user()?, &self.machines)?;
        let waiting = Waiting::default();
        several::each(&machines, &waiting, |machine| {
            let name = &machine.spec.name;
            let shown = waiting.begin(&format!("suspending {name}"), None);
            let suspended = machine.suspend(&mut |bytes| {
                shown.set_message(format!("suspending {name} · {}", size::show(bytes)));
            });
            waiting.end(shown);
            Ok(suspended?)
        })
    }
}
