//! The hidden verb by which `ssh` reaches a machine.

use std::io;
use std::net::Shutdown;
use std::process::ExitCode;
use std::thread;

use clade_manager::Machines;

use crate::failure::Failure;
use crate::remote::carry;
use crate::settle;
use crate::verbs::exec::explain;
use crate::verbs::ssh_config::SUFFIX;

/// What `clade ssh-config` calls it.
pub(crate) const NAME: &str = "ssh-proxy";

/// Join standard input and output to the SSH server of a machine.
#[derive(Debug, clap::Args)]
pub(crate) struct SshProxy {
    /// The machine's name, as `ssh` knows it.
    host: String,
}

impl SshProxy {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let name = self.host.strip_suffix(SUFFIX).unwrap_or(&self.host);
        let machine = Machines::of_user()?.find(name)?;
        let mut guest = clade_guest::connect(&settle::way_in(&machine)?, clade_guest::SSH_PORT)
            .map_err(|error| explain(error, &machine.spec.name))?;
        let mut to_guest = guest.try_clone()?;
        thread::spawn(move || {
            // The guest sees the end of what is said to it, whatever the reason.
            let _ = carry(&mut io::stdin(), &mut to_guest);
            let _ = to_guest.shutdown(Shutdown::Write);
        });
        let mut stdout = std::fs::File::from(rustix::io::dup(rustix::stdio::stdout())?);
        // Either side may go first.
        let _ = carry(&mut guest, &mut stdout);
        Ok(ExitCode::SUCCESS)
    }
}
