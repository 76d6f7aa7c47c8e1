//! `clade rmi`

use std::io::{self, Write};
use std::process::ExitCode;

use clade_images::Architecture;
use clade_manager::Machines;

use crate::failure::Failure;
use crate::progress::Shown;
use crate::{arch, choice, oci, root_disk, warm};

/// Remove images that were fetched; machines made from them stay as they are.
#[derive(Debug, clap::Args)]
pub(crate) struct Rmi {
    /// The images, as `clade images` lists them.
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Those for these machines alone.
    #[arg(long, value_parser = choice::parser(Architecture::ALL, arch::name))]
    arch: Option<Architecture>,
}

impl Rmi {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let machines = Machines::of_user()?.list()?;
        let borrowed = machines
            .iter()
            .filter_map(|machine| root_disk::borrowed(machine.folder()));
        let needed: Vec<_> = borrowed.collect();
        let mut failed = None;
        for name in &self.images {
            match clade_images::remove(name, self.arch, &needed, &Shown::new()) {
                Ok(name) => {
                    warm::drop_of_image(&name, self.arch)?;
                    writeln!(io::stdout(), "{name}").map_err(|error| Failure::of_output(&error))?;
                }
                // The others go all the same; the first failure is told last, by the exit status.
                Err(error) => {
                    if let Some(before) = failed.replace(Failure::from(error)) {
                        before.show();
                    }
                }
            }
        }
        oci::sweep()?;
        failed.map_or(Ok(ExitCode::SUCCESS), Err)
    }
}
