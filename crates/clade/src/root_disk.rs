//! The disk that a machine made from an image has as its first: a layer of its own above the image's.

use std::fs;
use std::path::{Path, PathBuf};

use clade_disk::{Format, create_overlay};
use clade_manager::Draft;
use clade_vmm::spec::DiskSpec;

use crate::failure::Failure;

/// The image's disk and the machine's layer, in the machine's folder.
const BELOW: &str = "image.raw";
const LAYER: &str = "root.qcow2";

/// Puts it in front of the machine's other disks.
pub(crate) fn add(draft: &mut Draft, image: &Path) -> Result<(), Failure> {
    let below = keep(image, draft.folder());
    create_overlay(&draft.folder().join(LAYER), &below, None)
        .map_err(|error| Failure::new(error.to_string()))?;
    let layer = DiskSpec {
        path: LAYER.into(),
        format: Format::Qcow2,
        ..DiskSpec::default()
    };
    draft.config_mut().disks.insert(0, layer);
    Ok(())
}

/// Makes an image's disk the machine's own. Where images and machines are on different disks of the
/// host it stays where it is: a copy would have its whole size.
fn keep(image: &Path, folder: &Path) -> PathBuf {
    match fs::hard_link(image, folder.join(BELOW)) {
        Ok(()) => BELOW.into(),
        Err(_) => image.to_owned(),
    }
}
