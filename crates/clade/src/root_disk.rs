//! The disk that a machine made from an image has as its first: a layer of its own above the image's.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use clade_disk::{DiskError, Format, create_overlay};
use clade_manager::Draft;
use clade_vmm::spec::DiskSpec;

use crate::failure::Failure;

/// The image's disk and the machine's layer, in the machine's folder.
const BELOW: &str = "image.raw";
const LAYER: &str = "root.qcow2";

/// Puts it in front of the machine's other disks, and tells systemd(1), which takes it for the guest's own,
/// the machine's name.
pub(crate) fn add(draft: &mut Draft, image: &Path) -> Result<(), Failure> {
    keep(image, &draft.folder().join(BELOW)).map_err(|error| {
        Failure::new(format!(
            "cannot make a link to {}: {error}",
            image.display()
        ))
    })?;
    create_layer(draft.folder()).map_err(|error| Failure::new(error.to_string()))?;
    let layer = DiskSpec {
        path: LAYER.into(),
        format: Format::Qcow2,
        ..DiskSpec::default()
    };
    let hostname = format!(" systemd.hostname={}", draft.spec().name);
    let config = draft.config_mut();
    config.disks.insert(0, layer);
    config.cmdline.push_str(&hostname);
    Ok(())
}

fn create_layer(folder: &Path) -> Result<(), DiskError> {
    let size = clade_disk::capacity(&folder.join(BELOW), Format::Raw)?;
    create_overlay(&folder.join(LAYER), Path::new(BELOW), Format::Raw, size).map(drop)
}

/// Makes an image's disk the machine's own. Where images and machines are on different disks of the
/// host it stays where it is, [`borrowed`]: a copy would have its whole size.
fn keep(image: &Path, place: &Path) -> io::Result<()> {
    fs::hard_link(image, place).or_else(|_| symlink(image.canonicalize()?, place))
}

/// The disk of an image that the machine in `folder` needs where it is.
pub(crate) fn borrowed(folder: &Path) -> Option<PathBuf> {
    fs::read_link(folder.join(BELOW)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_linked_is_borrowed() {
        let (images, machine) = (tempfile::tempdir(), tempfile::tempdir());
        let (images, machine) = (images.expect("folder"), machine.expect("folder"));
        let image = images.path().join("image");
        fs::write(&image, "content").expect("file");
        keep(&image, &machine.path().join(BELOW)).expect("link");
        assert_eq!(borrowed(machine.path()), None);
        // As a rule another file system.
        let shared = Path::new("/dev/shm");
        let Ok(other) = tempfile::tempdir_in(shared) else {
            eprintln!("SKIPPED what_cannot_be_linked_is_borrowed: no second file system");
            return;
        };
        keep(&image, &other.path().join(BELOW)).expect("link");
        let content = fs::read_to_string(other.path().join(BELOW));
        assert_eq!(content.expect("there"), "content");
        let apart = fs::hard_link(&image, other.path().join("hard")).is_err();
        assert_eq!(borrowed(other.path()).is_some(), apart);
    }
}
