//! One peer that runs workloads, one after the other.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use super::system;
use crate::guest::{Guest, Outcome, run_command};

/// A guest at its prompt, or this host.
pub(crate) enum Runner {
    Guest(Box<dyn Guest>),
    Native(PathBuf),
}

impl Runner {
    /// This host, if it lets an ordinary user change its root folder.
    pub(crate) fn native() -> Result<Self, String> {
        let runner = Self::Native(system::native()?);
        let outcome = runner.in_folder("exit 0")?;
        match outcome.good {
            true => Ok(runner),
            false => Err(outcome.output),
        }
    }

    /// Runs a workload in `copies` processes at once.
    pub(crate) fn run(&mut self, workload: &str, copies: u32) -> Result<Outcome, String> {
        let command = format!("sh /bench/run {workload} {copies}");
        match self {
            Self::Guest(guest) => run_command(&mut **guest, &command),
            Self::Native(_) => self.in_folder(&command),
        }
    }

    fn in_folder(&self, command: &str) -> Result<Outcome, String> {
        let Self::Native(root) = self else {
            return Err("a guest has its own root".into());
        };
        const ENTER: &str = "mount --rbind /dev \"$0/dev\" && mount --rbind /proc \"$0/proc\" && \
                             mount -t tmpfs tmpfs \"$0/tmp\" && exec chroot \"$0\" /bin/sh -c \"$1\"";
        let started = Instant::now();
        let output = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", ENTER])
            .arg(root)
            .arg(command)
            .output()
            .map_err(|error| format!("unshare cannot be run: {error}"))?;
        let time = started.elapsed();
        let text = [output.stdout, output.stderr].concat();
        Ok(Outcome {
            time,
            output: String::from_utf8_lossy(&text).into_owned(),
            good: output.status.success(),
        })
    }
}
