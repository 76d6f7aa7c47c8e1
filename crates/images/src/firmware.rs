//! Firmware for disks that bring a boot loader of their own.

use std::path::PathBuf;

use crate::archive::Setup;
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

const UBOOT: &str = "usr/lib/u-boot/qemu-riscv64_smode/uboot.elf";
const EDK2_CODE: &str = "usr/share/qemu-efi-riscv64/RISCV_VIRT_CODE.fd";
const EDK2_VARIABLES: &str = "usr/share/qemu-efi-riscv64/RISCV_VIRT_VARS.fd";

pub(crate) fn ensure(
    setup: &Setup,
    firmware: FirmwareName,
    source: &Source,
    progress: &dyn Progress,
) -> Result<Firmware, Error> {
    let package = match firmware {
        FirmwareName::UBoot => "u-boot-qemu",
        FirmwareName::Edk2 => "qemu-efi-riscv64",
    };
    let package = fetch_packages(setup, &[package], source, progress)?.remove(0);
    let keep = |path| keep(setup, &package, path);
    Ok(match firmware {
        FirmwareName::UBoot => Firmware::Elf(keep(UBOOT)?),
        FirmwareName::Edk2 => Firmware::Flash {
            code: keep(EDK2_CODE)?,
            variables: keep(EDK2_VARIABLES)?,
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
