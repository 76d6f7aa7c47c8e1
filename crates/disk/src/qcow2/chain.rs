//! A qcow2 file and what it stands on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use imago::file::File;
use imago::qcow2::Qcow2;
use imago::raw::Raw;
use imago::{DenyImplicitOpenGate, FormatAccess, StorageOpenOptions};

use super::Layers;
use crate::open::{open_file, open_raw};
use crate::{DiskError, Format};

/// Most files in a chain.
const DEPTH_MAX: usize = 64;

type Qcow2File = Qcow2<File, Layers>;

/// Opens the file at `path`, and below it its backing files, which are only read.
pub(super) fn open(path: &Path, read_only: bool) -> Result<FormatAccess<File>, DiskError> {
    open_layer(path, read_only, 1)
}

fn open_layer(path: &Path, read_only: bool, depth: usize) -> Result<FormatAccess<File>, DiskError> {
    if depth > DEPTH_MAX {
        return Err(DiskError::Chain {
            path: path.to_owned(),
            limit: DEPTH_MAX,
        });
    }
    let failed = |source| DiskError::Qcow2 {
        path: path.to_owned(),
        source,
    };
    let file = storage(open_file(path, read_only)?, path, read_only).map_err(failed)?;
    let mut layer: Qcow2File = Qcow2::open_image(file, !read_only).map_err(failed)?;
    let backing = backing_file(&layer, path)?
        .map(|(path, format)| open_backing(&path, format, depth))
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

fn open_backing(path: &Path, format: Format, depth: usize) -> Result<Layers, DiskError> {
    let layer = match format {
        Format::Qcow2 => open_layer(path, true, depth + 1)?,
        Format::Raw => {
            let failed = |source| DiskError::open(path, source);
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
