//! What to build and run: plain values, written by the manager, read by the machine's process.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Name of the file in a machine's folder that holds its [`MachineSpec`] as JSON.
pub const SPEC_FILE: &str = "spec.json";

/// Which engine drives the virtual CPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EngineKind {
    /// RISC-V 64, interpreted: works on every host.
    Emulate,
}

impl fmt::Display for EngineKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            EngineKind::Emulate => "emulate",
        })
    }
}

/// Everything that decides what a machine is. Host files are named, not held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineSpec {
    /// Twelve hexadecimal digits, different for every machine ever made.
    pub id: String,
    /// The name that people use, unique among the machines of this user on this host.
    pub name: String,
    /// The engine that drives the vCPUs.
    pub engine: EngineKind,
    /// Number of vCPUs, at least 1.
    pub cpus: u32,
    /// Guest memory in bytes.
    pub memory: u64,
    /// The kernel, or a bare-metal program.
    pub kernel: PathBuf,
    /// The initial RAM disk.
    pub initrd: Option<PathBuf>,
    /// Machine-mode firmware that starts the kernel, in place of the built-in SBI.
    pub firmware: Option<PathBuf>,
    /// The kernel's command line.
    pub cmdline: String,
    /// The image that the machine was made from, as people write it; none for a kernel of one's
    /// own.
    pub image: Option<String>,
    /// When the machine was made, in seconds since 1970-01-01 UTC.
    pub created: u64,
}

impl MachineSpec {
    /// The host files that the machine boots from.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        [
            Some(&self.kernel),
            self.initrd.as_ref(),
            self.firmware.as_ref(),
        ]
        .into_iter()
        .flatten()
        .map(PathBuf::as_path)
    }
}
