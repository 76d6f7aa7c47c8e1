//! Firmware for disks that bring a boot loader of their own.

use std::path::PathBuf;

use crate::archive::{Architecture, Setup};
use crate::fetch::{Package, Source, fetch_packages};
use crate::{Error, Progress};

/// A known firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirmwareName {
    /// Das U-Boot in S-mode: extlinux, scripts and EFI loaders.
    UBoot,
    /// EDK2, the reference implementation of UEFI.
    Edk2,
}

impl FirmwareName {
    /// Every one, in the order in which people are told of them.
    pub const ALL: [Self; 2] = [Self::UBoot, Self::Edk2];

    /// Its name, as the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::UBoot => "u-boot",
            Self::Edk2 => "edk2",
        }
    }
}

impl FirmwareName {
    /// Whether there is such firmware for the machines of an architecture.
    pub fn is_for(self, architecture: Architecture) -> bool {
        self.files(architecture).is_some()
    }

    fn files(self, architecture: Architecture) -> Option<Files> {
        match (self, architecture) {
            (Self::UBoot, Architecture::Riscv64) => Some(UBOOT),
            (Self::UBoot, Architecture::Amd64) => None,
            (Self::Edk2, Architecture::Riscv64) => Some(EDK2_RISCV64),
            (Self::Edk2, Architecture::Amd64) => Some(EDK2_AMD64),
        }
    }
}

/// Where Debian has a firmware.
struct Files {
    package: &'static str,
    kind: Kind,
}

/// Paths in the package.
enum Kind {
    Elf(&'static str),
    Flash {
        code: &'static str,
        variables: &'static str,
    },
}

const UBOOT: Files = Files {
    package: "u-boot-qemu",
    kind: Kind::Elf("usr/lib/u-boot/qemu-riscv64_smode/uboot.elf"),
};
const EDK2_RISCV64: Files = Files {
    package: "qemu-efi-riscv64",
    kind: Kind::Flash {
        code: "usr/share/qemu-efi-riscv64/RISCV_VIRT_CODE.fd",
        variables: "usr/share/qemu-efi-riscv64/RISCV_VIRT_VARS.fd",
    },
};
const EDK2_AMD64: Files = Files {
    package: "ovmf",
    kind: Kind::Flash {
        code: "usr/share/OVMF/OVMF_CODE_4M.fd",
        variables: "usr/share/OVMF/OVMF_VARS_4M.fd",
    },
};

/// The files of a firmware, in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Firmware {
    /// An ELF file to start in S-mode.
    Elf(PathBuf),
    /// The contents of two flash memories.
    Flash {
        /// Executed in place.
        code: PathBuf,
        /// What a new machine's variables begin as: to be copied.
        variables: PathBuf,
    },
}

/// That of the machines whose architecture `source` names.
pub(crate) fn ensure(
    setup: &Setup,
    firmware: FirmwareName,
    source: &Source,
    progress: &dyn Progress,
) -> Result<Firmware, Error> {
    let architecture = source.architecture;
    let Files { package, kind } =
        (firmware.files(architecture)).ok_or(Error::NoFirmware(firmware.name(), architecture))?;
    let package = fetch_packages(setup, &[package], source, progress)?.remove(0);
    let keep = |path| keep(setup, &package, path);
    Ok(match kind {
        Kind::Elf(path) => Firmware::Elf(keep(path)?),
        Kind::Flash { code, variables } => Firmware::Flash {
            code: keep(code)?,
            variables: keep(variables)?,
        },
    })
}

/// Unpacks one file of a package into the cache, unless it is there. Its name says which version of
/// the package it is from, and it gets it only when whole.
pub(crate) fn keep(setup: &Setup, package: &Package, path: &str) -> Result<PathBuf, Error> {
    let mut name = package.path.file_stem().unwrap_or_default().to_owned();
    name.push("-");
    name.push(path.rsplit('/').next().unwrap_or(path));
    let place = setup.cache.join("firmware").join(name);
    if !place.exists() {
        clade_store::write(&place, &package.read(path)?)?;
    }
    Ok(place)
}
