//! `clade template ls`

use std::process::ExitCode;

use clade_manager::{Machines, Snapshot, machine_of};
use clade_vmm::record;
use serde::Serialize;

use crate::failure::Failure;
use crate::{size, state, style, table};

/// List the templates.
#[derive(Debug, clap::Args)]
pub(super) struct Ls {
    /// Print JSON, with every detail.
    #[arg(long)]
    json: bool,
}

/// A template as `ls --json` shows it.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    id: String,
    /// The machine that was frozen, and the image that it is of.
    machine: String,
    image: Option<String>,
    cpus: u32,
    memory: u64,
    /// Whether its machines boot, as no memory was kept.
    boots: bool,
    /// Bytes of the disk that are freed with it, and that others have as well.
    own: u64,
    shared: u64,
    created: u64,
}

impl Ls {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let survey = Machines::of_user()?.templates()?.list()?;
        let mut rows = Vec::new();
        for template in &survey.snapshots {
            match Row::of(template) {
                Ok(row) => rows.push(row),
                Err(failure) => drop(failure.show()),
            }
        }
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        if self.json {
            table::print_json(&rows)?;
        } else {
            let cells: Vec<_> = rows.iter().map(Row::cells).collect();
            table::print(
                [
                    "NAME", "FROM", "IMAGE", "CPUS", "MEMORY", "STARTS", "SIZE", "SHARED", "AGE",
                ],
                &cells,
            )?;
        }
        for one in &survey.unreadable {
            style::talk(&format!(
                "the template '{0}' cannot be used: {1}\n`clade template rm {0}` removes it.",
                one.name, one.reason
            ));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Row {
    fn of(template: &Snapshot) -> Result<Self, Failure> {
        let spec = machine_of(template)?;
        let size = template.size()?;
        Ok(Self {
            name: template.name.to_string(),
            id: template.manifest.id.to_string(),
            machine: spec.name,
            image: spec.image,
            cpus: spec.config.cpus,
            memory: spec.config.memory,
            boots: template.manifest.details.memory_bytes.is_none(),
            own: size.own,
            shared: size.shared,
            created: template.manifest.created,
        })
    }

    fn cells(&self) -> [String; 9] {
        let starts = if self.boots { "boots" } else { "from memory" };
        [
            self.name.clone(),
            self.machine.clone(),
            self.image.clone().unwrap_or_else(|| "-".to_owned()),
            self.cpus.to_string(),
            size::show(self.memory),
            starts.to_owned(),
            size::show(self.own),
            size::show(self.shared),
            state::duration(record::now().saturating_sub(self.created)),
        ]
    }
}
