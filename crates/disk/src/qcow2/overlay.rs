//! New layers.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

use imago::file::File;
use imago::qcow2::Qcow2;
use imago::{FormatAccess, FormatCreateBuilder, StorageOpenOptions};

use crate::{DiskError, Format};

/// Bytes of a layer that are allocated, and copied from below, at a time. So much has each table of
/// a layer, too, four of them from the beginning, so that machines with many layers want it small; but
/// a table of this size maps only 32 MiB.
pub(crate) const CLUSTER: usize = 16 << 10;

/// Makes the qcow2 file `path`, which must not be there, as an empty layer above the disk
/// `backing`, which need not be there yet and may be in use: what is written goes into the layer,
/// and the disk below stays as it is. The disk has `size` bytes, a multiple of 512, at least as
/// many as the one below ([`crate::capacity`]).
///
/// The layer names the file below as it is given here: an absolute path, or one relative to the
/// layer's folder. The layer is returned open, to be synced by who wants it to survive a crash of the host.
///
/// # Errors
/// When the layer cannot be made; then it is not there.
pub fn create_overlay(
    path: &Path,
    backing: &Path,
    format: Format,
    size: u64,
) -> Result<fs::File, DiskError> {
    create(path, backing, format, size).map_err(|source| {
        if source.kind() != io::ErrorKind::AlreadyExists {
            let _ = fs::remove_file(path);
        }
        DiskError::Create {
            path: path.to_owned(),
            source,
        }
    })
}

fn create(path: &Path, backing: &Path, format: Format, size: u64) -> io::Result<fs::File> {
    let backing = backing
        .to_str()
        .ok_or_else(|| io::Error::other("the name of the disk below is not UTF-8"))?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)?;
    let layer = file.try_clone()?;
    format_as_layer(file, path, Some((backing, format)), size)?;
    Ok(layer)
}

/// Makes an empty file an empty layer of `size` bytes, above `backing` if there is one.
pub(super) fn format_as_layer(
    file: fs::File,
    path: &Path,
    backing: Option<(&str, Format)>,
    size: u64,
) -> io::Result<()> {
    if !size.is_multiple_of(512) {
        return Err(io::Error::other(format!(
            "{size} bytes are no whole sectors"
        )));
    }
    let options = StorageOpenOptions::new().filename(path).write(true);
    let storage = File::from_open_file(file, options)?;
    let builder = Qcow2::<File, FormatAccess<File>>::create_builder(storage).size(size);
    let mut builder = builder.cluster_size(CLUSTER);
    if let Some((name, format)) = backing {
        builder = builder.backing(name.to_owned(), format.name().to_owned());
    }
    builder.create()
}
