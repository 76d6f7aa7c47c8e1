//! A qcow2 file and what it stands on.

use std::fs;
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
pub(crate) const DEPTH_MAX: usize = 256;

pub(super) type Qcow2File = Qcow2<File, Layers>;

/// A file with all that it stands on.
pub(super) struct Chain {
    pub(super) layers: FormatAccess<File>,
    /// The file on top, locked.
    pub(super) file: fs::File,
    /// How many files there are.
    pub(super) depth: usize,
}

/// Opens the file at `path`, and below it its backing files, which are only read.
pub(super) fn open(path: &Path, read_only: bool) -> Result<Chain, DiskError> {
    open_chain(path, read_only, &mut Vec::new())
}

/// `above` are the files that stand on this one, each by device and inode.
fn open_chain(
    path: &Path,
    read_only: bool,
    above: &mut Vec<(u64, u64)>,
) -> Result<Chain, DiskError> {
    enter(path, above)?;
    let file = open_file(path, read_only)?;
    let layer = layer(&file, path, read_only)?;
    let backing = backing_file(&layer, path)?
        .map(|(path, format)| open_backing(&path, format, above))
        .transpose()
        .map_err(|source| DiskError::Backing {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
    Ok(Chain {
        layers: stand(layer, backing, path)?,
        file,
        depth: above.len(),
    })
}

/// The qcow2 file at `path` and those that it stands on, from the top down. Nothing is locked.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, DiskError> {
    let (mut path, mut files) = (path.to_owned(), Vec::new());
    loop {
        if files.len() == DEPTH_MAX {
            return Err(DiskError::too_deep(&path));
        }
        let file = fs::File::open(&path).map_err(|source| DiskError::open(&path, source))?;
        let below = backing_file(&layer(&file, &path, true)?, &path)?;
        files.push(path);
        match below {
            Some((below, Format::Qcow2)) => path = below,
            Some((below, Format::Raw)) => {
                files.push(below);
                return Ok(files);
            }
            None => return Ok(files),
        }
    }
}

/// Before it is locked, which a file that stands on itself would not let happen.
fn enter(path: &Path, above: &mut Vec<(u64, u64)>) -> Result<(), DiskError> {
    let metadata = fs::metadata(path).map_err(|source| DiskError::open(path, source))?;
    let identity = (metadata.dev(), metadata.ino());
    if above.contains(&identity) || above.len() == DEPTH_MAX {
        return Err(DiskError::too_deep(path));
    }
    above.push(identity);
    Ok(())
}

/// What is in `file` itself, which is called `path`.
pub(super) fn layer(file: &fs::File, path: &Path, read_only: bool) -> Result<Qcow2File, DiskError> {
    let open = || {
        let storage = storage(file.try_clone()?, path, read_only)?;
        let layer = Qcow2::open_image(storage, !read_only)?;
        if !read_only {
            refcounts::check(file)?;
        }
        Ok(layer)
    };
    open().map_err(|source| DiskError::qcow2(path, source))
}

/// The layer that is called `path` above what it stands on.
pub(super) fn stand(
    mut layer: Qcow2File,
    backing: Option<Layers>,
    path: &Path,
) -> Result<FormatAccess<File>, DiskError> {
    layer.set_backing(backing);
    // What the file names beside that, a data file, is not opened.
    layer
        .open_implicit_dependencies_gated(DenyImplicitOpenGate::default())
        .map_err(|source| DiskError::qcow2(path, source))?;
    Ok(FormatAccess::new(layer))
}

fn open_backing(
    path: &Path,
    format: Format,
    above: &mut Vec<(u64, u64)>,
) -> Result<Layers, DiskError> {
    let layers = match format {
        Format::Qcow2 => open_chain(path, true, above)?.layers,
        Format::Raw => {
            let failed = |source| DiskError::open(path, source);
            enter(path, above)?;
            let (file, _) = open_raw(path, true)?;
            let file = storage(file, path, true).map_err(failed)?;
            FormatAccess::new(Raw::open_image(file, false).map_err(failed)?)
        }
    };
    Ok(Arc::new(layers))
}

/// Which file a layer stands on: a relative name is relative to the layer's folder.
pub(super) fn backing_file(
    layer: &Qcow2File,
    path: &Path,
) -> Result<Option<(PathBuf, Format)>, DiskError> {
    let Some(name) = layer.implicit_backing_file() else {
        return Ok(None);
    };
    let backing = path.parent().unwrap_or(Path::new("")).join(name);
    let format = match layer.implicit_backing_format().map(String::as_str) {
        Some("qcow2") => Format::Qcow2,
        Some("raw" | "file") => Format::Raw,
        Some(other) => {
            let reason =
                format!("it stands on a file of the format {other}, which is not supported");
            return Err(DiskError::qcow2(path, std::io::Error::other(reason)));
        }
        None => Format::detect(&backing).map_err(|source| DiskError::Backing {
            path: path.to_owned(),
            source: Box::new(source),
        })?,
    };
    Ok(Some((backing, format)))
}

fn storage(file: fs::File, path: &Path, read_only: bool) -> std::io::Result<File> {
    let options = StorageOpenOptions::new().filename(path).write(!read_only);
    File::from_open_file(file, options)
}
