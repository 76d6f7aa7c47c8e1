//! The board's two flash memories.
//!
//! The first holds firmware code. It is plain memory, for the guest executes it in place; no
//! firmware writes to it. The second holds variables and is a device.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clade_devices::Flash;
use clade_devices::flash::FlashStore;
use clade_engine::GuestRam;

use super::map;
use crate::loader::{LoadError, Source};
use crate::spec::FlashSpec;

/// Why a flash cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FlashError {
    /// A file.
    #[error("the firmware's file {path} cannot be used: {source}")]
    File {
        /// The file.
        path: String,
        /// The host's answer.
        source: io::Error,
    },
    /// A file of the wrong size.
    #[error("the firmware's file {path} has {size} bytes; it must have {wanted}")]
    Size {
        /// The file.
        path: String,
        /// What it has.
        size: u64,
        /// What it is to have, for people.
        wanted: String,
    },
}

/// The host's side of both: files that stay open while the guest resets the board.
#[derive(Debug)]
pub struct FlashFiles {
    code: CodeFile,
    variables: Arc<VariablesFile>,
}

#[derive(Debug)]
struct CodeFile {
    file: Arc<File>,
    name: String,
    /// In bytes.
    size: u64,
}

#[derive(Debug)]
struct VariablesFile {
    file: File,
    path: String,
    failed: AtomicBool,
}

impl FlashFiles {
    /// Opens the files.
    ///
    /// # Errors
    /// When one cannot be opened or is of the wrong size.
    pub fn open(spec: &FlashSpec) -> Result<Self, FlashError> {
        let (code, size) = open(&spec.code, false, 1, "at most 32 MiB")?;
        let (variables, _) = open(&spec.variables, true, map::FLASH.size, "exactly 32 MiB")?;
        Ok(Self {
            code: CodeFile {
                file: Arc::new(code),
                name: spec.code.display().to_string(),
                size,
            },
            variables: Arc::new(VariablesFile {
                file: variables,
                path: spec.variables.display().to_string(),
                failed: AtomicBool::new(false),
            }),
        })
    }

    /// Copies the code into guest memory.
    pub(super) fn load_code(&self, ram: &GuestRam) -> Result<(), LoadError> {
        let CodeFile { file, name, size } = &self.code;
        Source::of_file(name, file.clone(), *size)?.copy_to(ram, map::FLASH.base)
    }

    /// The flash of variables, with what the file holds now.
    pub(super) fn variables(&self) -> Result<Arc<Flash>, FlashError> {
        let mut content = vec![0; map::FLASH_VARIABLES.size as usize];
        let file = &self.variables.file;
        file.read_exact_at(&mut content, 0)
            .map_err(failed(Path::new(&self.variables.path)))?;
        Ok(Flash::new(content, self.variables.clone()))
    }
}

impl FlashStore for VariablesFile {
    fn write(&self, offset: u64, bytes: &[u8]) {
        if let Err(error) = self.file.write_all_at(bytes, offset)
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            eprintln!(
                "firmware variables are not kept: writing {} fails: {error}",
                self.path
            );
        }
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> FlashError {
    let path = path.display().to_string();
    move |source| FlashError::File { path, source }
}

/// Opens a file of `least` bytes up to the size of a flash. Returns its size, too.
fn open(path: &Path, write: bool, least: u64, wanted: &str) -> Result<(File, u64), FlashError> {
    let file = File::options()
        .read(true)
        .write(write)
        .open(path)
        .map_err(failed(path))?;
    let size = file.metadata().map_err(failed(path))?.len();
    if (least..=map::FLASH.size).contains(&size) {
        return Ok((file, size));
    }
    Err(FlashError::Size {
        path: path.display().to_string(),
        size,
        wanted: wanted.to_owned(),
    })
}
