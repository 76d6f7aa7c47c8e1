//! `clade template pull`

use std::path::Path;
use std::process::ExitCode;

use clade_guest::Key;
use clade_images::{RemoteTemplate, TemplateRequest};
use clade_manager::{ImportOrder, Machines, Snapshot, TemplateImport};
use clade_store::FileName;
use serde_json::json;

use crate::failure::Failure;
use crate::progress::Shown;
use crate::{remote, table};

/// Make a template of one in an OCI registry, where `clade template push` put it.
///
/// It may have been put there by another user, or on another host. Files that other templates and
/// snapshots here have already are not fetched. Nothing is made of what is not whole.
#[derive(Debug, clap::Args)]
pub(super) struct Pull {
    /// Where from, as Docker writes it: `ghcr.io/owner/name:tag`; the tag is `latest` if there is none.
    #[arg(value_name = "REGISTRY/NAME[:TAG]")]
    reference: String,
    /// What to call the template, in place of the name that it had.
    #[arg(long)]
    name: Option<String>,
    /// Speak to this registry without encryption; one on this host is so in any case.
    #[arg(long, value_name = "HOST[:PORT]")]
    insecure_registry: Vec<String>,
    /// Print JSON: the template's name, the reference and its digest, what was fetched.
    #[arg(long)]
    json: bool,
}

impl Pull {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let machines = Machines::of_user()?;
        if let Some(name) = &self.name {
            super::check_is_no_image(name)?;
        }
        let name = self.name.map(|name| machines.check_template_name(&name));
        let name = name.transpose()?;
        let request = TemplateRequest {
            reference: self.reference,
            insecure_registries: self.insecure_registry,
        };
        let shown = Shown::new();
        let remote = RemoteTemplate::find(&request, &shown)?;
        let (reference, digest) = (remote.name().to_owned(), remote.digest());
        let (template, (fetched, bytes)) = take_in(&machines, name.as_ref(), remote)?;
        if self.json {
            table::print_json(&json!({
                "name": template.name.as_str(),
                "reference": reference,
                "digest": format!("sha256:{digest}"),
                "fetched": fetched,
                "fetched_bytes": bytes,
                "here": template.manifest.files.len() - fetched,
            }))?;
        } else {
            super::print(template.name.as_str())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Makes the template, and says how many files and bytes were fetched.
fn take_in(
    machines: &Machines,
    name: Option<&FileName>,
    mut remote: RemoteTemplate<'_>,
) -> Result<(Snapshot, (usize, u64)), Failure> {
    let key = Key::of_user()?;
    let reference = remote.name().to_owned();
    let manifest = remote.manifest().clone();
    let theirs = match name {
        Some(name) => name.clone(),
        None => FileName::new(manifest.details.name.clone().unwrap_or_default())?,
    };
    let order = ImportOrder {
        path: Path::new(&reference),
        name,
        accept: &super::check_is_no_image,
        adapt: &|cmdline: &str| remote::for_another_user(cmdline, &key),
    };
    let mut import = machines.begin_import(&theirs, manifest, order)?;
    import.take_what_is_here()?;
    fetch(&mut import, &mut remote)?;
    let template = import.finish()?;
    let fetched = remote.fetched();
    remote.forget_fetched()?;
    Ok((template, fetched))
}

fn fetch(import: &mut TemplateImport<'_>, remote: &mut RemoteTemplate<'_>) -> Result<(), Failure> {
    for file in import.missing() {
        let content = remote.open(&file)?;
        import.take(&file, content)?;
    }
    Ok(())
}
