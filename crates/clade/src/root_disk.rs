//! The disk that a machine made from an image has as its first: a layer of its own above the image's.

use std::path::Path;

use clade_disk::{Format, create_overlay};
use clade_manager::Draft;
use clade_vmm::spec::DiskSpec;

use crate::failure::Failure;

/// The image's disk and the machine's layer, in the machine's folder.
const BELOW: &str = "image.raw";
const LAYER: &str = "root.qcow2";

/// Puts it in front of the machine's other disks.
pub(crate) fn add(draft: &mut Draft, image: &Path) -> Result<(), Failure> {
    let below = draft.keep(image, BELOW)?;
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
