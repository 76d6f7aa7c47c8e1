//! What a vCPU can do.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The processor that a machine on KVM has. The emulator's have one model.
///
/// A machine and its snapshots run on every host that has what its processor has. `Host` is fastest
/// and runs on hosts like this one; the others are the levels of the x86-64 psABI, with what every
/// processor of that level has besides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CpuModel {
    /// Everything that this host's processor has and KVM can give, but for nested virtualization and
    /// performance counters.
    #[default]
    #[serde(rename = "host")]
    Host,
    /// As of 2009: SSE4.2, POPCNT, CMPXCHG16B.
    #[serde(rename = "x86-64-v2")]
    V2,
    /// As of 2013: AVX2, BMI, FMA, AES.
    #[serde(rename = "x86-64-v3")]
    V3,
}

impl CpuModel {
    /// Every one, in the order in which people are told of them.
    pub const ALL: [Self; 3] = [Self::Host, Self::V2, Self::V3];

    /// Its name, as the command line and the spec have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::V2 => "x86-64-v2",
            Self::V3 => "x86-64-v3",
        }
    }
}

impl fmt::Display for CpuModel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
