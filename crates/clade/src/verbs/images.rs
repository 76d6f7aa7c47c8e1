//! `clade images`

use std::process::ExitCode;

use clade_images::ImageSummary;
use clade_manager::WarmImage;
use clade_vmm::record;
use jiff::Timestamp;
use serde::Serialize;

use crate::failure::Failure;
use crate::{arch, size, state, table, warm};

/// List the images that can be run.
///
/// WARM is the room that warm images take: machines that have just booted, from which the next go on.
#[derive(Debug, clap::Args)]
pub(crate) struct Images {
    /// Print JSON, with every detail.
    #[arg(long)]
    json: bool,
}

impl Images {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let warm = warm::images()?.list()?;
        let images = clade_images::list()?.into_iter();
        let rows: Vec<_> = images.map(|image| Row::new(image, &warm)).collect();
        if self.json {
            table::print_json(&rows)?;
        } else {
            let cells: Vec<_> = rows.iter().map(Row::cells).collect();
            table::print(
                [
                    "IMAGE",
                    "ARCH",
                    "VERSION",
                    "SIZE",
                    "WARM",
                    "AGE",
                    "DESCRIPTION",
                ],
                &cells,
            )?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// An image as `images --json` shows it.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    image: ImageSummary,
    /// Bytes of the disk that its warm images take, from which machines go on in place of booting.
    warm: u64,
}

impl Row {
    fn new(image: ImageSummary, warm: &[WarmImage]) -> Self {
        let of_it = warm
            .iter()
            .filter(|one| warm::is_of(one, &image.name, Some(image.architecture)));
        Self {
            warm: of_it.map(|one| one.own).sum(),
            image,
        }
    }

    fn cells(&self) -> [String; 7] {
        let image = &self.image;
        let when_cached = |text: String| if image.cached { text } else { "-".to_owned() };
        let size = if image.cached {
            size::show(image.size)
        } else {
            "not fetched".to_owned()
        };
        let warm = match self.warm {
            0 => "-".to_owned(),
            bytes => size::show(bytes),
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
            warm,
            when_cached(age(&image.built)),
            image.description.clone(),
        ]
    }
}

/// How long ago something was built; empty if that is not known.
fn age(built: &str) -> String {
    let seconds = built.parse::<Timestamp>().map(Timestamp::as_second);
    let seconds = seconds.ok().and_then(|seconds| u64::try_from(seconds).ok());
    seconds.map_or_else(String::new, |built| {
        state::duration(record::now().saturating_sub(built))
    })
}
