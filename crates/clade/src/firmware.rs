//! `--firmware`: what starts a machine below its kernel, or in place of one.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use clade_guest::Key;
use clade_images::{Architecture, Firmware, FirmwareName, Source, nocloud};
use clade_manager::Draft;
use clade_vmm::spec::{DiskSpec, FlashSpec, MachineConfig};

use crate::engine_option::Emulated;
use crate::failure::Failure;
use crate::progress::Shown;

/// Name of the file in a machine's folder that holds its firmware's variables.
const VARIABLES: &str = "variables.fd";

/// Name of the file in a machine's folder from which cloud-init takes its instructions.
const SEED: &str = "seed.img";

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FirmwareOption {
    /// Firmware that finds an operating system on a disk, from Debian's packages.
    Known(FirmwareName),
    /// Machine-mode firmware of one's own, which starts the kernel.
    File(PathBuf),
}

/// A known name, or else a file.
pub(crate) fn parse(text: &str) -> Result<FirmwareOption, String> {
    let known = FirmwareName::ALL
        .into_iter()
        .find(|firmware| firmware.name() == text);
    Ok(match known {
        Some(name) => FirmwareOption::Known(name),
        None if text.is_empty() => return Err("it is u-boot, edk2 or a file".to_owned()),
        None => FirmwareOption::File(text.into()),
    })
}

impl FirmwareOption {
    /// Whether it boots from a disk, without a kernel from the host.
    pub(crate) fn boots_from_disk(&self) -> bool {
        matches!(self, Self::Known(_))
    }

    /// Refuses what it would never look at: `unused` are options that were given and are for a kernel from
    /// the host.
    ///
    /// # Errors
    /// There is one, and this firmware boots from a disk.
    pub(crate) fn check_unused(&self, unused: &[&str]) -> Result<(), Failure> {
        let (Self::Known(name), [option, ..]) = (self, unused) else {
            return Ok(());
        };
        let name = name.name();
        Err(Failure::new(format!(
            "--firmware {name} boots what is on a disk, and would not look at {option}\n\
             Leave one of them out. A kernel starts without firmware, or below firmware of your own \
             (`--firmware FILE`, as OpenSBI's fw_dynamic.bin)."
        )))
    }

    /// What to tell of it if it is for emulated machines only.
    pub(crate) fn emulated(&self) -> Option<Emulated> {
        match self {
            Self::File(_) => Some(Emulated::option("--firmware FILE")),
            Self::Known(name) if name.is_for(Architecture::Amd64) => None,
            Self::Known(FirmwareName::UBoot) => Some(Emulated {
                option: "--firmware u-boot",
                remedy: "take --firmware edk2",
            }),
            Self::Known(FirmwareName::Edk2) => Some(Emulated::option("--firmware edk2")),
        }
    }

    /// Adds it to `config`; what is not in the cache is fetched.
    pub(crate) fn equip(&self, config: &mut MachineConfig, source: &Source) -> Result<(), Failure> {
        match self {
            Self::File(path) => config.firmware = Some(path.clone()),
            Self::Known(name) => match clade_images::firmware(*name, source, &Shown::new())? {
                Firmware::Elf(path) => config.kernel = Some(path),
                Firmware::Flash { code, variables } => {
                    config.flash = Some(FlashSpec { code, variables });
                }
            },
        }
        Ok(())
    }
}

/// Gives a machine firmware variables of its own, copied from those that it is to begin with.
pub(crate) fn furnish(draft: &mut Draft) -> Result<(), Failure> {
    let place = draft.folder().join(VARIABLES);
    if let Some(flash) = &mut draft.config_mut().flash {
        fs::copy(&flash.variables, &place).map_err(|error| {
            let from = flash.variables.display();
            Failure::new(format!(
                "cannot copy {from} to {}: {error}",
                place.display()
            ))
        })?;
        flash.variables = VARIABLES.into();
    }
    Ok(())
}

/// Gives a machine a last disk from which cloud-init takes `user_data`, or else whom to let in.
pub(crate) fn add_seed(draft: &mut Draft, user_data: Option<&Path>) -> Result<(), Failure> {
    let user_data = match user_data {
        Some(file) => fs::read(file).map_err(|error| {
            Failure::new(format!(
                "cannot read the user data {}: {error}",
                file.display()
            ))
        })?,
        None => nocloud::default_user_data(&ssh_keys()?).into_bytes(),
    };
    let spec = draft.spec();
    let seed = nocloud::seed(&spec.id, &spec.name, &user_data)
        .map_err(|error| Failure::new(format!("no seed for cloud-init can be made: {error}")))?;
    let place = draft.folder().join(SEED);
    fs::write(&place, seed)
        .map_err(|error| Failure::new(format!("cannot write {}: {error}", place.display())))?;
    draft.config_mut().disks.push(DiskSpec {
        path: SEED.into(),
        read_only: true,
        serial: "cidata".to_owned(),
        ..DiskSpec::default()
    });
    Ok(())
}

/// The public keys of this user: Clade's own, and those of ssh.
fn ssh_keys() -> Result<Vec<String>, Failure> {
    let mut keys = vec![Key::of_user()?.public()];
    let folder = env::home_dir().map(|home| home.join(".ssh"));
    for kind in ["ed25519", "ecdsa", "rsa"] {
        let file = folder
            .as_ref()
            .map(|folder| folder.join(format!("id_{kind}.pub")));
        // As a rule there is one of them, and none is fine.
        keys.extend(file.and_then(|file| fs::read_to_string(file).ok()));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_and_all_else_is_a_file() {
        for name in FirmwareName::ALL {
            assert_eq!(parse(name.name()), Ok(FirmwareOption::Known(name)));
        }
        let file = FirmwareOption::File("./u-boot".into());
        assert_eq!(parse("./u-boot"), Ok(file));
        assert!(parse("").is_err());
    }
}
