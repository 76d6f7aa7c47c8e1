//! `clade ps`

use std::process::ExitCode;

use clade_manager::{Machine, Machines};
use serde::Serialize;

use crate::failure::Failure;
use crate::{size, table};

/// List the machines that run.
#[derive(Debug, clap::Args)]
pub(crate) struct Ps {
    /// Print JSON, with every detail.
    #[arg(long)]
    json: bool,
}

/// A machine as `ps --json` shows it.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    id: String,
    image: Option<String>,
    kernel: String,
    engine: String,
    cpus: u32,
    memory: u64,
    created: u64,
    #[serde(flatten)]
    live: Live,
}

#[derive(Debug, Serialize)]
struct Live {
    state: &'static str,
    pid: Option<u32>,
    uptime: Option<u64>,
}

impl Ps {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machines = Machines::of_user()?.list()?;
        let rows: Vec<Row> = machines.into_iter().map(Row::of).collect();
        if self.json {
            table::print_json(&rows)?;
        } else {
            let lines: Vec<_> = rows.iter().map(Row::cells).collect();
            table::print(
                [
                    "NAME", "ID", "IMAGE", "STATE", "CPUS", "MEMORY", "UPTIME", "PID",
                ],
                &lines,
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Row {
    fn of(machine: Machine) -> Self {
        let live = match machine.status() {
            Ok(status) => Live {
                state: if status.foreground {
                    "foreground"
                } else {
                    "detached"
                },
                pid: Some(status.pid),
                uptime: Some(status.uptime),
            },
            Err(_) => Live {
                state: "no answer",
                pid: machine.pid(),
                uptime: None,
            },
        };
        let spec = machine.spec;
        Self {
            name: spec.name,
            id: spec.id,
            image: spec.image,
            kernel: spec.config.kernel.unwrap_or_default().display().to_string(),
            engine: spec.config.engine.to_string(),
            cpus: spec.config.cpus,
            memory: spec.config.memory,
            created: spec.created,
            live,
        }
    }

    fn cells(&self) -> [String; 8] {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let kernel = || {
            self.kernel
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        [
            self.name.clone(),
            self.id.clone(),
            self.image.clone().unwrap_or_else(kernel),
            self.live.state.to_owned(),
            self.cpus.to_string(),
            size::show(self.memory),
            or_dash(self.live.uptime.map(show_duration)),
            or_dash(self.live.pid.map(|pid| pid.to_string())),
        ]
    }
}

/// `45s`, `12m 3s`, `5h 2m`, `3d 4h`.
fn show_duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, _, _) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units_at_most() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m 0s"),
            (3599, "59m 59s"),
            (3600, "1h 0m"),
            (90061, "1d 1h"),
        ] {
            assert_eq!(show_duration(seconds), text);
        }
    }
}
