//! `clade pull`

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use clade_images::{Architecture, DebianRequest, Request};

use crate::engine_option::EngineChoice;
use crate::failure::Failure;
use crate::first_boot::OwnMachine;
use crate::progress::Shown;
use crate::{oci, warm};

/// Fetch an image, or a newer version of it.
///
/// Names that are not of Clade's own images are of OCI images, as Docker writes them: `alpine`,
/// `ghcr.io/owner/name:tag`.
#[derive(Debug, clap::Args)]
pub(crate) struct Pull {
    /// The image; `clade images` lists them.
    image: String,
    /// The Debian mirror to fetch the image from.
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// The Debian suite to make the image from.
    #[arg(long)]
    suite: Option<String>,
    /// For which machines: those that `clade run` would make.
    #[command(flatten)]
    engine: EngineChoice,
    /// Packages that the image `debian` is to have besides the usual ones.
    #[arg(long, value_name = "PKG,...", value_delimiter = ',')]
    include: Vec<String>,
    /// Speak to this registry without encryption; one on this host is so in any case.
    #[arg(long, value_name = "HOST[:PORT]")]
    insecure_registry: Vec<String>,
}

impl Pull {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let arch = self.engine.architecture()?;
        let before = built(arch)?;
        let (name, version) = if clade_images::is_oci(&self.image) {
            let image = oci::fetch(&self.image, arch, self.insecure_registry, true)?;
            oci::sweep()?;
            (image.name, format!("sha256:{}", image.digest))
        } else if clade_images::is_debian(&self.image) {
            self.debian(arch)?
        } else {
            self.own(arch)?
        };
        if before.get(&name) != built(arch)?.get(&name) {
            warm::drop_of_image(&name, Some(arch))?;
        }
        writeln!(io::stdout(), "{name} {version}").map_err(|error| Failure::of_output(&error))?;
        Ok(ExitCode::SUCCESS)
    }

    /// The image's whole name, and its kernel's version.
    fn own(self, architecture: Architecture) -> Result<(String, String), Failure> {
        let request = Request {
            name: self.image,
            mirror: self.mirror,
            suite: self.suite,
            architecture,
            refresh: true,
        };
        let image = clade_images::ensure(&request, &Shown::new())?;
        Ok((image.name, image.kernel_version))
    }

    fn debian(self, architecture: Architecture) -> Result<(String, String), Failure> {
        let request = DebianRequest {
            name: self.image,
            mirror: self.mirror,
            suite: self.suite,
            include: self.include,
            architecture,
            refresh: true,
        };
        let image = clade_images::ensure_debian(&request, &OwnMachine, &Shown::new())?;
        Ok((image.name, image.kernel_version))
    }
}

/// When the images for these machines were built, by their names.
fn built(architecture: Architecture) -> Result<BTreeMap<String, String>, Failure> {
    let images = clade_images::list()?.into_iter();
    let images = images.filter(|image| image.architecture == architecture);
    Ok(images.map(|image| (image.name, image.built)).collect())
}
