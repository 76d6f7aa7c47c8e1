//! A board's two flash memories.
//!
//! One holds firmware code. It is plain memory, for the guest executes it in place; no firmware writes
//! to it. The other holds variables and is a device. Where they are, and how large, is the board's matter.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clade_devices::Flash;
use clade_devices::flash::{FlashStore, Geometry};
use clade_engine::GuestRam;

use crate::loader::{LoadError, Source};
use crate::spec::{EngineKind, FlashSpec};

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
    /// In bytes.
    size: u64,
    failed: AtomicBool,
}

/// How large a file may be that goes into a flash.
struct Sizes {
    least: u64,
    most: u64,
    /// It is a multiple of this.
    unit: u64,
    /// All that, for people.
    said: &'static str,
}

/// Those of code and variables on the board of an engine.
fn sizes(engine: EngineKind) -> [Sizes; 2] {
    const MIB: u64 = 1 << 20;
    const PAGE: u64 = 4096;
    match engine {
        EngineKind::Emulate => [
            Sizes {
                least: 1,
                most: 32 * MIB,
                unit: 1,
                said: "at most 32 MiB",
            },
            Sizes {
                least: 32 * MIB,
                most: 32 * MIB,
                unit: 1,
                said: "exactly 32 MiB",
            },
        ],
        EngineKind::Kvm => [(), ()].map(|()| Sizes {
            least: PAGE,
            most: 8 * MIB,
            unit: PAGE,
            said: "a multiple of 4 KiB, and at most 8 MiB",
        }),
    }
}

impl FlashFiles {
    /// Opens the files, for the board of `engine`.
    ///
    /// # Errors
    /// When one cannot be opened or is of the wrong size.
    pub fn open(spec: &FlashSpec, engine: EngineKind) -> Result<Self, FlashError> {
        let [of_code, of_variables] = sizes(engine);
        let (code, size) = open(&spec.code, false, &of_code)?;
        let (variables, variables_size) = open(&spec.variables, true, &of_variables)?;
        Ok(Self {
            code: CodeFile {
                file: Arc::new(code),
                name: spec.code.display().to_string(),
                size,
            },
            variables: Arc::new(VariablesFile {
                file: variables,
                path: spec.variables.display().to_string(),
                size: variables_size,
                failed: AtomicBool::new(false),
            }),
        })
    }

    /// Size of the code in bytes.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn code_size(&self) -> u64 {
        self.code.size
    }

    /// Size of the variables in bytes.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn variables_size(&self) -> u64 {
        self.variables.size
    }

    /// Copies the code to guest physical address `base`.
    pub(super) fn load_code(&self, ram: &GuestRam, base: u64) -> Result<(), LoadError> {
        let CodeFile { file, name, size } = &self.code;
        Source::of_file(name, file.clone(), *size)?.copy_to(ram, base)
    }

    /// The flash of variables, with what the file holds now.
    pub(super) fn variables(&self, geometry: Geometry) -> Result<Arc<Flash>, FlashError> {
        let mut content = vec![0; self.variables.size as usize];
        let file = &self.variables.file;
        file.read_exact_at(&mut content, 0)
            .map_err(failed(Path::new(&self.variables.path)))?;
        Ok(Flash::new(content, geometry, self.variables.clone()))
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

/// Opens a file of the right size. Returns its size, too.
fn open(path: &Path, write: bool, sizes: &Sizes) -> Result<(File, u64), FlashError> {
    let file = File::options()
        .read(true)
        .write(write)
        .open(path)
        .map_err(failed(path))?;
    let size = file.metadata().map_err(failed(path))?.len();
    if (sizes.least..=sizes.most).contains(&size) && size.is_multiple_of(sizes.unit) {
        return Ok((file, size));
    }
    Err(FlashError::Size {
        path: path.display().to_string(),
        size,
        wanted: sizes.said.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_wrong_size_are_refused() {
        let folder = tempfile::tempdir().expect("folder");
        let open = |engine, code: u64, variables: u64| {
            let file = |name: &str, size| {
                let path = folder.path().join(name);
                File::create(&path)
                    .expect("file")
                    .set_len(size)
                    .expect("room");
                path
            };
            let spec = FlashSpec {
                code: file("code", code),
                variables: file("variables", variables),
            };
            FlashFiles::open(&spec, engine).map(drop)
        };
        const VIRT: u64 = 32 << 20;
        for (engine, code, variables) in [
            (EngineKind::Emulate, 0, VIRT),
            (EngineKind::Emulate, VIRT + 1, VIRT),
            (EngineKind::Emulate, 5, VIRT - 1),
            (EngineKind::Kvm, 0, 4096),
            (EngineKind::Kvm, 4097, 4096),
            (EngineKind::Kvm, 4096, 0),
            (EngineKind::Kvm, 4096, 1000),
            (EngineKind::Kvm, (8 << 20) + 4096, 4096),
            (EngineKind::Kvm, 4096, VIRT),
        ] {
            let said = open(engine, code, variables).expect_err("refused");
            assert!(matches!(said, FlashError::Size { .. }), "{said}");
        }
        open(EngineKind::Emulate, 5, VIRT).expect("taken");
        open(EngineKind::Kvm, 0x37_c000, 0x8_4000).expect("taken");
    }
}
