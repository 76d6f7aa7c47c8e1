//! New layers.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use imago::file::File;
use imago::qcow2::Qcow2;
use imago::{FormatAccess, FormatCreateBuilder, StorageOpenOptions};

use crate::open::open_raw;
use crate::{DiskError, Format};

/// Makes the qcow2 file `path`, which must not be there, as an empty layer above the raw disk
/// `backing`: what is written goes into the layer, and the disk below stays as it is. The disk has
/// `size` bytes, or as many as the one below if that is none or less.
///
/// The layer names the file below as it is given here: an absolute path, or one relative to the
/// layer's folder.
///
/// # Errors
/// When the disk below cannot be read, or the layer not be made; then it is not there.
pub fn create_overlay(path: &Path, backing: &Path, size: Option<u64>) -> Result<(), DiskError> {
    let below = path.parent().unwrap_or(Path::new("")).join(backing);
    let (_, capacity) = open_raw(&below, true)?;
    let size = size.unwrap_or(0).max(capacity).next_multiple_of(512);
    create(path, backing, size).map_err(|source| {
        if source.kind() != io::ErrorKind::AlreadyExists {
            let _ = std::fs::remove_file(path);
        }
        DiskError::Create {
            path: path.to_owned(),
            source,
        }
    })
}

fn create(path: &Path, backing: &Path, size: u64) -> io::Result<()> {
    let backing = backing
        .to_str()
        .ok_or_else(|| io::Error::other("the name of the disk below is not UTF-8"))?;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)?;
    let options = StorageOpenOptions::new().filename(path).write(true);
    let synced = file.try_clone()?;
    let storage = File::from_open_file(file, options)?;
    Qcow2::<File, FormatAccess<File>>::create_builder(storage)
        .size(size)
        .backing(backing.to_owned(), Format::Raw.name().to_owned())
        .create()?;
    synced.sync_all()
}
