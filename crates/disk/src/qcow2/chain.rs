//! A qcow2 file and what it stands on.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imago::file::File;
use imago::qcow2::Qcow2;
use imago::raw::Raw;
use imago::{DenyImplicitOpenGate, FormatAccess, StorageOpenOptions};

use super::{Layers, refcounts};
use crate::open::{open_file, open_raw};
use crate::{DiskError, Format};

/// Most files in a chain.
const DEPTH_MAX: usize = 64;

type Qcow2File = Qcow2<File, Layers>;

/// Opens the file at `path`, and below it its backing files, which are only read.
pub(super) fn open(path: &Path, read_only: bool) -> Result<FormatAccess<File>, DiskError> {
    open_layer(path, read_only, &mut Vec::new())
}

/// `above` are the files that stand on this one, each by device and inode.
fn open_layer(
    path: &Path,
    read_only: bool,
    above: &mut Vec<(u64, u64)>,
) -> Result<FormatAccess<File>, DiskError> {
    enter(path, above)?;
    let failed = |source| DiskError::Qcow2 {
        path: path.to_owned(),
        source,
    };
    let file = open_file(path, read_only)?;
    let kept = file.try_clone().map_err(failed)?;
    let file = storage(file, path, read_only).map_err(failed)?;
    let mut layer: Qcow2File = Qcow2::open_image(file, !read_only).map_err(failed)?;
    if !read_only {
        refcounts::check(&kept).map_err(failed)?;
    }
    let backing = backing_file(&layer, path)?
        .map(|(path, format)| open_backing(&path, format, above))
        .transpose()
        .map_err(|source| DiskError::Backing {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
    layer.set_backing(backing);
    // What the file names beside that, a data file, is not opened.
    layer
        .open_implicit_dependencies_gated(DenyImplicitOpenGate::default())
        .map_err(failed)?;
    Ok(FormatAccess::new(layer))
}

/// Before it is locked, which a file that stands on itself would not let happen.
fn enter(path: &Path, above: &mut Vec<(u64, u64)>) -> Result<(), DiskError> {
    let metadata = std::fs::metadata(path).map_err(|source| DiskError::open(path, source))?;
    let identity = (metadata.dev(), metadata.ino());
    if above.contains(&identity) || above.len() == DEPTH_MAX {
        return Err(DiskError::Chain {
            path: path.to_owned(),
            limit: DEPTH_MAX,
        });
    }
    above.push(identity);
    Ok(())
}

fn open_backing(
    path: &Path,
    format: Format,
    above: &mut Vec<(u64, u64)>,
) -> Result<Layers, DiskError> {
    let layer = match format {
        Format::Qcow2 => open_layer(path, true, above)?,
        Format::Raw => {
            let failed = |source| DiskError::open(path, source);
            enter(path, above)?;
            let (file, _) = open_raw(path, true)?;
            let file = storage(file, path, true).map_err(failed)?;
            FormatAccess::new(Raw::open_image(file, false).map_err(failed)?)
        }
    };
    Ok(Arc::new(layer))
}

/// Which file a layer stands on: a relative name is relative to the layer's folder.
fn backing_file(layer: &Qcow2File, path: &Path) -> Result<Option<(PathBuf, Format)>, DiskError> {
    let Some(name) = layer.implicit_backing_file() else {
        return Ok(None);
    };
    let backing = path.parent().unwrap_or(Path::new("")).join(name);
    let format = match layer.implicit_backing_format().map(String::as_str) {
        Some("qcow2") => Format::Qcow2,
        Some("raw" | "file") => Format::Raw,
        Some(other) => {
            return Err(DiskError::Qcow2 {
                path: path.to_owned(),
                source: std::io::Error::other(format!(
                    "it stands on a file of the format {other}, which is not supported"
                )),
            });
        }
        None => Format::detect(&backing).map_err(|source| DiskError::Backing {
            path: path.to_owned(),
            source: Box::new(source),
        })?,
    };
    Ok(Some((backing, format)))
}

fn storage(file: std::fs::File, path: &Path, read_only: bool) -> std::io::Result<File> {
    let options = StorageOpenOptions::new().filename(path).write(!read_only);
    File::from_open_file(file, options)
}
