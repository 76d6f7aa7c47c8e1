//! One layer in the place of several.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use imago::file::File;
use imago::{FormatAccess, ShallowMapping};

use super::overlay::format_as_layer;
use super::{Stack, chain};
use crate::open::open_file;
use crate::{DiskError, Format};

/// Bytes that are copied at a time.
const PIECE: u64 = 1 << 20;

/// A layer without what it stands on.
struct Alone {
    access: FormatAccess<File>,
    /// The file below, as the layer names it.
    below: Option<(String, Format)>,
}

/// Where the content of a range is.
enum Place<'a> {
    In(&'a FormatAccess<File>),
    /// It is all zeros, whatever is below.
    Nowhere,
    Below,
}

/// Makes the empty file at `path`, in the folder of `layers`, a layer in their place: each of them stands on
/// the next, and it has all that they have, and stands on what the last stands on. They stay as they are.
/// To survive a crash of the host, it is still to be synced.
///
/// # Errors
/// When they are no such layers, damaged or written by somebody, or the new one cannot be written.
pub fn merge(layers: &[PathBuf], path: &Path) -> Result<(), DiskError> {
    let failed = |source| DiskError::Create {
        path: path.to_owned(),
        source,
    };
    let unfit = |reason: &str| failed(io::Error::other(reason.to_owned()));
    let alone: Vec<_> = (layers.iter())
        .map(|path| Alone::open(path))
        .collect::<Result<_, _>>()?;
    for (layer, next) in alone.iter().zip(layers.iter().skip(1)) {
        let below = layer
            .below
            .as_ref()
            .map(|(name, _)| path.with_file_name(name));
        if below.as_ref() != Some(next) {
            return Err(unfit("the layers do not stand on each other"));
        }
    }
    let Some(last) = alone.last() else {
        return Err(unfit("there is nothing to merge"));
    };
    let size = last.access.size();
    if alone.iter().any(|layer| layer.access.size() != size) {
        return Err(unfit("the layers differ in size"));
    }
    let file = OpenOptions::new().read(true).write(true).open(path);
    let below = last.below.as_ref();
    let below = below.map(|(name, format)| (name.as_str(), *format));
    file.and_then(|file| format_as_layer(file, path, below, size))
        .map_err(failed)?;
    let merged = Stack::open(path, false)?;
    let copied = merged.with(|merged| copy_all(&alone, merged));
    copied.and_then(|()| merged.flush()).map_err(failed)
}

impl Alone {
    fn open(path: &Path) -> Result<Self, DiskError> {
        let file = open_file(path, true)?;
        let layer = chain::layer(&file, path, true)?;
        let format = chain::backing_file(&layer, path)?.map(|(_, format)| format);
        let below = layer.implicit_backing_file().cloned().zip(format);
        Ok(Self {
            access: chain::stand(layer, None, path)?,
            below,
        })
    }
}

fn copy_all(layers: &[Alone], merged: &mut FormatAccess<File>) -> io::Result<()> {
    let mut buffer = vec![0; PIECE as usize];
    let (mut offset, size) = (0, merged.size());
    while offset < size {
        let (place, length) = find(layers, offset, size - offset)?;
        let length = match place {
            Place::Below => length,
            Place::Nowhere => {
                merged.write_zeroes(offset, length)?;
                length
            }
            Place::In(layer) => {
                let length = length.min(PIECE);
                let piece = &mut buffer[..length as usize];
                layer.read(&mut *piece, offset)?;
                merged.write(&*piece, offset)?;
                length
            }
        };
        offset += length;
    }
    Ok(())
}

/// Where the content at `offset` is, and how many bytes from there, of `length` at most, are there too.
fn find(layers: &[Alone], offset: u64, mut length: u64) -> io::Result<(Place<'_>, u64)> {
    for Alone { access, .. } in layers {
        let (mapping, covered) = access.get_shallow_mapping(offset, length)?;
        if covered == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        length = length.min(covered);
        match mapping {
            ShallowMapping::Zero {
                explicit: false, ..
            } => {}
            ShallowMapping::Zero { .. } => return Ok((Place::Nowhere, length)),
            _ => return Ok((Place::In(access), length)),
        }
    }
    Ok((Place::Below, length))
}
