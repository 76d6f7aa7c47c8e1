use std::fs::{File, FileType, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::file::RawDisk;
use crate::immediate::Immediate;
use crate::lock::lock;
use crate::qcow2::{self, Stack};
use crate::uring::UringDisk;
use crate::{Disk, DiskError, Format};

/// Opens the disk at `path`, and everything that it depends on, and locks it: until the last
/// clone is dropped no other machine writes it, or none uses it if this one writes.
///
/// # Errors
/// When it is not there, not allowed, in use, damaged, or no disk.
pub fn open(path: &Path, format: Format, read_only: bool) -> Result<Disk, DiskError> {
    match format {
        Format::Raw => {
            let (file, capacity) = open_raw(path, read_only)?;
            Ok(raw_disk(path, RawDisk::new(file, capacity, read_only)))
        }
        Format::Qcow2 => Ok(Disk::layered(path, Stack::open(path, read_only)?)),
    }
}

/// The files that the disk at `path` consists of, from the top down: of a raw disk one. Nothing is locked.
///
/// # Errors
/// When one of them cannot be read, or is damaged.
pub fn files(path: &Path, format: Format) -> Result<Vec<PathBuf>, DiskError> {
    match format {
        Format::Raw => Ok(vec![path.to_owned()]),
        Format::Qcow2 => qcow2::files(path),
    }
}

/// How many bytes a guest finds on the disk at `path`, which may be in use.
///
/// # Errors
/// When it is not there, not allowed, damaged, or no disk.
pub fn capacity(path: &Path, format: Format) -> Result<u64, DiskError> {
    let file = open_unlocked(path, true)?;
    match format {
        Format::Raw => size(&file, path),
        Format::Qcow2 => qcow2::capacity(&file, path),
    }
}

/// The disk by io_uring where this host has it.
fn raw_disk(path: &Path, disk: RawDisk) -> Disk {
    match UringDisk::new(disk) {
        Ok((disk, ready)) => Disk::new(path, disk, Some(ready)),
        Err(disk) => Disk::new(path, Immediate::new(disk), None),
    }
}

/// Opens and locks a raw disk; also returns its size in bytes.
pub(crate) fn open_raw(path: &Path, read_only: bool) -> Result<(File, u64), DiskError> {
    let file = open_file(path, read_only)?;
    let size = size(&file, path)?;
    Ok((file, size))
}

fn size(mut file: &File, path: &Path) -> Result<u64, DiskError> {
    // Of a block device, the metadata has no size.
    let size = file
        .seek(SeekFrom::End(0))
        .map_err(|source| DiskError::open(path, source))?;
    if !size.is_multiple_of(512) {
        return Err(DiskError::Size {
            path: path.to_owned(),
            size,
        });
    }
    Ok(size)
}

/// Opens and locks the file of a disk.
pub(crate) fn open_file(path: &Path, read_only: bool) -> Result<File, DiskError> {
    let file = open_unlocked(path, read_only)?;
    lock(&file, path, read_only)?;
    Ok(file)
}

fn open_unlocked(path: &Path, read_only: bool) -> Result<File, DiskError> {
    let failed = |source| DiskError::open(path, source);
    // Before it is opened, which for a pipe would wait, and for a folder be refused less clearly.
    check_type(path, std::fs::metadata(path).map_err(failed)?.file_type())?;
    OpenOptions::new()
        .read(true)
        .write(!read_only)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(failed)
}

fn check_type(path: &Path, kind: FileType) -> Result<(), DiskError> {
    let what = if kind.is_file() || kind.is_block_device() {
        return Ok(());
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_char_device() {
        "a character device"
    } else {
        "a socket"
    };
    Err(DiskError::NoDisk {
        path: path.to_owned(),
        what,
    })
}
