//! `clade pull`

use std::io::{self, Write};
use std::process::ExitCode;

use clade_images::Request;

use crate::failure::Failure;
use crate::progress::Shown;

/// Fetch an image, or a newer version of it.
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
}

impl Pull {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let Self {
            image: name,
            mirror,
            suite,
        } = self;
        let request = Request {
            name,
            mirror,
            suite,
            refresh: true,
        };
        let image = clade_images::ensure(&request, &Shown::new())?;
        writeln!(io::stdout(), "{} {}", image.name, image.kernel_version)
            .map_err(|error| Failure::of_output(&error))?;
        Ok(ExitCode::SUCCESS)
    }
}
