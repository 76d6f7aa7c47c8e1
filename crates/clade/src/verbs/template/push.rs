//! `clade template push`

use std::io::{self, Write};
use std::process::ExitCode;

use clade_images::{Pushed, TemplateRequest};
use clade_manager::Machines;
use serde_json::json;

use crate::failure::Failure;
use crate::progress::Shown;
use crate::{size, style, table};

/// Put a template into an OCI registry, for other hosts or users.
///
/// What the registry has already is not sent again: templates that have a machine in common share what
/// they have of it. All that is in the machine's memory and on its disks goes along. Credentials are those
/// of `docker login` or `podman login`.
#[derive(Debug, clap::Args)]
pub(super) struct Push {
    /// The template.
    template: String,
    /// Where to, as Docker writes it: `ghcr.io/owner/name:tag`; the tag is `latest` if there is none.
    #[arg(value_name = "REGISTRY/NAME[:TAG]")]
    reference: String,
    /// Speak to this registry without encryption; one on this host is so in any case.
    #[arg(long, value_name = "HOST[:PORT]")]
    insecure_registry: Vec<String>,
    /// Print JSON: the reference, its digest, what was sent.
    #[arg(long)]
    json: bool,
}

impl Push {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let machines = Machines::of_user()?;
        let template = super::find(&machines, &self.template)?;
        machines.check_portable(&template)?;
        let request = TemplateRequest {
            reference: self.reference,
            insecure_registries: self.insecure_registry,
        };
        let pushed = clade_images::push_template(&template, &request, &Shown::new())?;
        match self.json {
            true => print_json(&pushed)?,
            false => print(&pushed)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print(pushed: &Pushed) -> Result<(), Failure> {
    let all = pushed.sent + pushed.there;
    style::talk(&match pushed.sent {
        0 => format!("nothing was sent: the registry has all {all} files"),
        sent => format!(
            "sent {sent} of {all} files, {}",
            size::show(pushed.sent_bytes)
        ),
    });
    let line = writeln!(
        io::stdout(),
        "{} sha256:{}",
        pushed.reference,
        pushed.digest
    );
    line.map_err(|error| Failure::of_output(&error))
}

fn print_json(pushed: &Pushed) -> Result<(), Failure> {
    table::print_json(&json!({
        "reference": pushed.reference,
        "digest": format!("sha256:{}", pushed.digest),
        "sent": pushed.sent,
        "sent_bytes": pushed.sent_bytes,
        "there": pushed.there,
    }))
}
