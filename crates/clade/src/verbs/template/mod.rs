//! `clade template`

mod create;
mod export;
mod import;
mod list;
mod pull;
mod push;

use std::io::{self, Write};
use std::process::ExitCode;

use clade_images::ImageSummary;
use clade_manager::{Error, Machines, Snapshot};
use clade_store::FileName;

use crate::failure::Failure;
use crate::oci;

/// Keep prepared machines, from which new ones are made in milliseconds.
///
/// A template is a machine, frozen as it was at one instant, with a name. `clade run TEMPLATE` makes a
/// machine that goes on from there.
#[derive(Debug, clap::Args)]
pub(crate) struct Template {
    #[command(subcommand)]
    verb: TemplateVerb,
}

#[derive(Debug, clap::Subcommand)]
enum TemplateVerb {
    Create(create::Create),
    Ls(list::Ls),
    Rm(Rm),
    Export(export::Export),
    Import(import::Import),
    Push(push::Push),
    Pull(pull::Pull),
}

/// Remove templates; machines made from them stay as they are.
#[derive(Debug, clap::Args)]
struct Rm {
    /// The templates.
    #[arg(required = true, value_name = "TEMPLATE")]
    templates: Vec<String>,
}

impl Template {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self.verb {
            TemplateVerb::Create(create) => create.run(),
            TemplateVerb::Ls(ls) => ls.run(),
            TemplateVerb::Rm(rm) => rm.run(),
            TemplateVerb::Export(export) => export.run(),
            TemplateVerb::Import(import) => import.run(),
            TemplateVerb::Push(push) => push.run(),
            TemplateVerb::Pull(pull) => pull.run(),
        }
    }
}

impl Rm {
    fn run(self) -> Result<ExitCode, Failure> {
        let machines = Machines::of_user()?;
        let templates = machines.templates()?;
        // All are found before any is removed; damaged ones can be, too.
        for name in &self.templates {
            if !is_there(&machines, name)? {
                return Err(not_found(&machines, name));
            }
        }
        for name in &self.templates {
            let file = FileName::new(name.as_str())?;
            templates.remove(&file)?;
            print(name)?;
        }
        oci::sweep()?;
        Ok(ExitCode::SUCCESS)
    }
}

fn is_there(machines: &Machines, name: &str) -> Result<bool, Failure> {
    let templates = machines.templates()?;
    let file = FileName::new(name);
    Ok(file.is_ok_and(|file| templates.folder().join(file).is_dir()))
}

/// The template of this name.
fn find(machines: &Machines, name: &str) -> Result<Snapshot, Failure> {
    let found = machines.template(name)?;
    found.ok_or_else(|| not_found(machines, name))
}

fn not_found(machines: &Machines, name: &str) -> Failure {
    let survey = machines.templates().and_then(|all| Ok(all.list()?));
    let known: Vec<_> = survey
        .unwrap_or_default()
        .snapshots
        .iter()
        .map(|one| one.name.to_string())
        .collect();
    let hint = match known.is_empty() {
        true => "There is none; `clade template create NAME --from MACHINE` makes one.".to_owned(),
        false => format!("There are: {}.", known.join(", ")),
    };
    Failure::new(format!("there is no template '{name}'\n{hint}"))
}

/// Refuses names by which an image is meant.
fn check_is_no_image(name: &str) -> Result<(), Error> {
    let images = clade_images::list().map_err(|error| Error::Branch(error.to_string()))?;
    let is_meant = |image: &ImageSummary| image.name.split(':').next() == Some(name);
    if clade_images::is_oci(name) && !images.iter().any(is_meant) {
        return Ok(());
    }
    Err(Error::Branch(format!(
        "'{name}' is an image, which `clade run {name}` would no longer mean\n\
         Choose another name for the template."
    )))
}

fn print(name: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{name}").map_err(|error| Failure::of_output(&error))
}
