//! `clade images`

use std::process::ExitCode;

use clade_images::ImageSummary;
use clade_vmm::record;
use jiff::Timestamp;

use crate::failure::Failure;
use crate::{arch, size, state, table};

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
            table::print(
                ["IMAGE", "ARCH", "VERSION", "SIZE", "AGE", "DESCRIPTION"],
                &rows,
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn cells(image: &ImageSummary) -> [String; 6] {
    let when_cached = |text: String| if image.cached { text } else { "-".to_owned() };
    let size = if image.cached {
        size::show(image.size)
    } else {
        "not fetched".to_owned()
    };
    // Of Clade's own images the kernel tells versions apart, of OCI images the digest.
    let version = match &image.digest {
        Some(digest) => digest.short(),
        None => image.kernel_version.clone(),
    };
    [
        image.name.clone(),
        arch::name(image.architecture).to_owned(),
        when_cached(version),
        size,
        when_cached(age(&image.built)),
        image.description.clone(),
    ]
}

/// How long ago something was built; empty if that is not known.
fn age(built: &str) -> String {
    let seconds = built.parse::<Timestamp>().map(Timestamp::as_second);
    let seconds = seconds.ok().and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or_else(String::new, |built| {
        state::duration(record::now().saturating_sub(built))
    })
}
