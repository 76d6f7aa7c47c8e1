//! What to build and run: plain values, written by the manager, read by the machine's process.

mod disk;
mod flash;
mod interrupts;
mod network;
mod serial;
mod share;

use std::fmt;
use std::path::{Path, PathBuf};

use clade_net::MacAddress;
use serde::{Deserialize, Serialize};

pub use clade_disk::Format as DiskFormat;
pub use clade_engine::CpuModel;
pub use disk::{DISKS_MAX, DiskSpec, OnFullDisk};
pub use flash::FlashSpec;
pub use interrupts::Interrupts;
pub use network::{NetworkSpec, OutsideSpec, SwitchName};
pub use serial::{SerialName, SerialPortsError};
pub use share::{SHARES_MAX, ShareSpec};

/// Name of the file in a machine's folder that holds its [`MachineSpec`] as JSON.
pub const SPEC_FILE: &str = "spec.json";

/// Which engine drives the virtual CPUs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// RISC-V 64 in software: works on every host.
    #[default]
    Emulate,
    /// x86-64 on the host's own processor.
    Kvm,
}

impl fmt::Display for EngineKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            EngineKind::Emulate => "emulate",
            EngineKind::Kvm => "kvm",
        })
    }
}

/// What may execute the guest's instructions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// The fastest that the host can do.
    #[default]
    Auto,
    /// One instruction after the other, on every host.
    Interpreter,
    /// Translation into the host's own instructions, or no machine at all.
    Translator,
}

impl Tier {
    /// Every one, in the order in which people are told of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Interpreter, Self::Translator];

    /// Its name, as the command line and the spec have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Interpreter => "interpreter",
            Self::Translator => "translator",
        }
    }
}

/// A machine with its identity. Host files are named, not held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineSpec {
    /// Twelve hexadecimal digits, different for every machine ever made.
    pub id: String,
    /// The name that people use, unique among the machines of this user on this host.
    pub name: String,
    /// The image that the machine was made from, as people write it; none for a kernel of one's
    /// own.
    pub image: Option<String>,
    /// When the machine was made, in seconds since 1970-01-01 UTC.
    pub created: u64,
    /// Whether the machine is removed, with all that it has, when its life ends.
    #[serde(default)]
    pub temporary: bool,
    /// What it came from or last was the same as, if not an image.
    #[serde(default)]
    pub origin: Option<OriginSpec>,
    /// The network card's address, if it is not the one that follows from the id: a clone whose guest takes
    /// itself for its origin, or cannot be told who it is, has its origin's.
    #[serde(default)]
    pub mac: Option<MacAddress>,
    /// What its guest has to be told still.
    #[serde(default)]
    pub unsettled: Option<Unsettled>,
    /// What it is made of. Relative paths are in the machine's own folder.
    pub config: MachineConfig,
}

/// What a guest that went on from a saved state does not know yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Unsettled {
    /// What time it is.
    Clock,
    /// That it is a machine of its own, besides.
    Identity {
        /// The names of the machines that it may take itself for: more than one if its origin, too,
        /// had not been told its own yet.
        before: Vec<String>,
    },
}

impl MachineSpec {
    /// The id of the snapshot that it came from or last was the same as.
    pub fn parent_snapshot(&self) -> Option<&str> {
        self.origin.as_ref()?.snapshot.as_deref()
    }

    /// The network card's address.
    pub fn mac(&self) -> MacAddress {
        self.mac.unwrap_or_else(|| MacAddress::of_machine(&self.id))
    }
}

/// What a machine came from or last was the same as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OriginSpec {
    /// The id of a snapshot; `None` for a machine that was cloned as it was.
    pub snapshot: Option<String>,
    /// The id of the machine that it was a state of.
    pub machine: String,
}

/// What a machine is made of: all that its board needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MachineConfig {
    /// The engine that drives the vCPUs.
    pub engine: EngineKind,
    /// How the emulator goes about it.
    pub tier: Tier,
    /// What the processors can do, under KVM.
    pub cpu_model: CpuModel,
    /// How devices reach the vCPUs, under the emulator.
    pub interrupts: Interrupts,
    /// Number of vCPUs, at least 1.
    pub cpus: u32,
    /// Guest memory in bytes.
    pub memory: u64,
    /// Machine-mode firmware that starts the kernel, in place of the built-in SBI.
    pub firmware: Option<PathBuf>,
    /// The kernel, or a bare-metal program; firmware can do without.
    pub kernel: Option<PathBuf>,
    /// Flash with UEFI firmware, when there is no kernel.
    pub flash: Option<FlashSpec>,
    /// The initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// The kernel's command line.
    pub cmdline: String,
    /// Block devices, in the guest's order.
    pub disks: Vec<DiskSpec>,
    /// What a block device does where the host has no space left.
    pub on_full_disk: OnFullDisk,
    /// What the network card is connected to.
    pub network: NetworkSpec,
    /// Folders of the host.
    pub shares: Vec<ShareSpec>,
    /// Named serial ports, no two of the same name.
    pub ports: Vec<SerialName>,
    /// Whether there is a socket device between host and guest.
    pub vsock: bool,
    /// Whether the guest may connect, by that device, to sockets in the machine's folder.
    pub vsock_outgoing: bool,
}

impl Default for MachineConfig {
    /// One vCPU, 1 GiB, and nothing to start.
    fn default() -> Self {
        Self {
            engine: EngineKind::default(),
            tier: Tier::default(),
            cpu_model: CpuModel::default(),
            interrupts: Interrupts::default(),
            cpus: 1,
            memory: 1 << 30,
            firmware: None,
            flash: None,
            kernel: None,
            initrd: None,
            cmdline: String::new(),
            disks: Vec::new(),
            on_full_disk: OnFullDisk::default(),
            network: NetworkSpec::default(),
            shares: Vec::new(),
            ports: Vec::new(),
            vsock: false,
            vsock_outgoing: false,
        }
    }
}

impl MachineConfig {
    /// Every host path in it, to be changed.
    pub fn paths_mut(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let boot_files = [&mut self.kernel, &mut self.initrd, &mut self.firmware];
        let flash = self.flash.iter_mut();
        let flash = flash.flat_map(|flash| [&mut flash.code, &mut flash.variables]);
        let disks = self.disks.iter_mut().map(|disk| &mut disk.path);
        let folders = self.shares.iter_mut().map(|share| &mut share.folder);
        let boot_files = boot_files.into_iter().flatten();
        boot_files.chain(flash).chain(disks).chain(folders)
    }

    /// Makes relative paths absolute: they are in `folder`, the machine's own.
    pub fn resolve(&mut self, folder: &Path) {
        for path in self.paths_mut() {
            *path = folder.join(&*path);
        }
    }

    /// The host files that the machine boots from.
    pub fn boot_files(&self) -> impl Iterator<Item = &Path> {
        [&self.kernel, &self.initrd, &self.firmware]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_is_written_by_its_name() {
        for tier in Tier::ALL {
            let written = serde_json::to_value(tier).expect("written");
            assert_eq!(written, tier.name());
        }
    }

    #[test]
    fn a_cpu_model_is_written_by_its_name() {
        for model in CpuModel::ALL {
            let written = serde_json::to_value(model).expect("written");
            assert_eq!(written, model.name());
        }
    }

    #[test]
    fn interrupts_are_written_by_their_name() {
        for interrupts in Interrupts::ALL {
            let written = serde_json::to_value(interrupts).expect("written");
            assert_eq!(written, interrupts.name());
        }
    }

    #[test]
    fn relative_paths_are_in_the_machines_folder() {
        let mut config = MachineConfig {
            kernel: Some("kernel".into()),
            initrd: Some("/elsewhere/initrd".into()),
            disks: vec![DiskSpec {
                path: "root.qcow2".into(),
                ..DiskSpec::default()
            }],
            ..MachineConfig::default()
        };
        config.resolve(Path::new("/machine"));
        assert_eq!(config.kernel, Some("/machine/kernel".into()));
        assert_eq!(config.initrd, Some("/elsewhere/initrd".into()));
        assert_eq!(config.disks[0].path, Path::new("/machine/root.qcow2"));
    }

    #[test]
    fn what_a_config_does_not_say_is_the_default() {
        let config: MachineConfig = serde_json::from_str("{}").expect("an empty config");
        assert_eq!(config, MachineConfig::default());
    }
}
