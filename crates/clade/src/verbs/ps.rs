//! `clade ps`

use std::process::ExitCode;

use clade_manager::{Machine, Machines, State, Survey};
use clade_vmm::control::Status;
use clade_vmm::network::read_forwards;
use clade_vmm::record;
use serde::Serialize;

use crate::failure::Failure;
use crate::{size, state, style, table};

/// List the machines that run, are paused or suspended; or all.
#[derive(Debug, clap::Args)]
pub(crate) struct Ps {
    /// Those that have stopped, too.
    #[arg(long, short)]
    all: bool,
    /// Print names alone, one a line.
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
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
    kernel: Option<String>,
    engine: String,
    cpus: u32,
    memory: u64,
    ports: Vec<String>,
    created: u64,
    temporary: bool,
    #[serde(flatten)]
    state: State,
    /// Whether a running machine says how it is.
    answers: Option<bool>,
    foreground: Option<bool>,
    ready: Option<bool>,
    paused: Option<bool>,
    /// In seconds.
    uptime: Option<u64>,
    #[serde(skip)]
    status: Option<Status>,
}

impl Ps {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let Survey {
            machines,
            unreadable,
        } = Machines::of_user()?.survey()?;
        let wanted = machines.into_iter();
        let is_alive = |state: &State| state.is_live() || state.is_suspended();
        let wanted = wanted.filter(|machine| self.all || is_alive(&machine.state));
        if self.quiet {
            table::print_lines(wanted.map(|machine| machine.spec.name))?;
            return Ok(ExitCode::SUCCESS);
        }
        let rows: Vec<Row> = wanted.map(Row::of).collect();
        if self.json {
            table::print_json(&rows)?;
        } else {
            let now = record::now();
            let lines: Vec<_> = rows.iter().map(|row| row.cells(now)).collect();
            table::print(
                [
                    "NAME", "ID", "IMAGE", "STATUS", "CPUS", "MEMORY", "PORTS", "UPTIME",
                ],
                &lines,
            )?;
        }
        let lost = rows
            .iter()
            .filter_map(|row| state::remedy(&row.name, &row.state));
        lost.for_each(|text| style::talk(&text));
        for machine in unreadable.iter().filter(|_| self.all) {
            style::talk(&format!(
                "'{0}' cannot be read: {1}\n\
                 Another version of Clade may have made it; `clade rm {0}` removes it.",
                machine.name, machine.reason
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The ports of the host that lead to the guest, as `-p` has them: those that are open while it
/// runs, otherwise those that it wants.
fn ports(machine: &Machine) -> Vec<String> {
    let open = machine.sockets().map(read_forwards);
    let forwards = match (&machine.state, open) {
        (State::Running { .. }, Ok(open)) => open,
        _ => {
            let outside = machine.spec.config.network.outside();
            outside
                .map(|outside| outside.forwards.clone())
                .unwrap_or_default()
        }
    };
    forwards.iter().map(ToString::to_string).collect()
}

impl Row {
    fn of(machine: Machine) -> Self {
        let running = matches!(machine.state, State::Running { .. });
        let status = running.then(|| machine.status().ok());
        let answer = status.clone().flatten();
        let ask = |what: fn(Status) -> bool| answer.clone().map(what);
        let ports = ports(&machine);
        let spec = machine.spec;
        Self {
            name: spec.name,
            id: spec.id,
            image: spec.image,
            kernel: spec.config.kernel.map(|path| path.display().to_string()),
            engine: spec.config.engine.to_string(),
            cpus: spec.config.cpus,
            memory: spec.config.memory,
            ports,
            created: spec.created,
            temporary: spec.temporary,
            state: machine.state,
            answers: status.map(|answer| answer.is_some()),
            foreground: ask(|status| status.foreground),
            ready: ask(|status| status.ready),
            paused: ask(|status| status.paused),
            uptime: answer.as_ref().map(|status| status.uptime),
            status: answer,
        }
    }

    fn cells(&self, now: u64) -> [String; 8] {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let kernel = || {
            let kernel = self.kernel.as_deref().unwrap_or("-");
            kernel.rsplit('/').next().unwrap_or_default().to_owned()
        };
        let status = state::observed(&self.state, self.status.as_ref(), now);
        let ports = (!self.ports.is_empty()).then(|| self.ports.join(", "));
        [
            self.name.clone(),
            self.id.clone(),
            self.image.clone().unwrap_or_else(kernel),
            status,
            self.cpus.to_string(),
            size::show(self.memory),
            or_dash(ports),
            or_dash(self.uptime.map(state::duration)),
        ]
    }
}
