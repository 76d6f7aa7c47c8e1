//! `clade images`

use std::process::ExitCode;

use clade_images::ImageSummary;

use crate::failure::Failure;
use crate::{size, table};

/// List the images that can be run.
#[derive(Debug, clap::Args)]
pub(crate) struct Images {
    /// Print JSON, with every detail.
    #[arg(long)]
    json: bool,
}

impl Images {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let images = clade_images::list()?;
        if self.json {
            table::print_json(&images)?;
        } else {
            let rows: Vec<_> = images.iter().map(cells).collect();
            table::print(["IMAGE", "KERNEL", "SIZE", "DESCRIPTION"], &rows)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn cells(image: &ImageSummary) -> [String; 4] {
    let when_cached = |text: String| if image.cached { text } else { "-".to_owned() };
    let size = if image.cached {
        size::show(image.size)
    } else {
        "not fetched".to_owned()
    };
    [
        image.name.clone(),
        when_cached(image.kernel_version.clone()),
        size,
        image.description.clone(),
    ]
}
