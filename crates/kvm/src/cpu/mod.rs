//! What a guest is told that its processor can do.

mod build;
mod compare;
mod features;
mod leaves;
mod topology;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub(crate) use build::Cpuid;
pub(crate) use compare::check_host_has;
pub(crate) use leaves::{Leaves, MAX_LEAVES};

/// The processor that a machine has.
///
/// A machine and its snapshots run on every host that has what its processor has. `Host` is fastest
/// and runs on hosts like this one; the others are the levels of the x86-64 psABI, with what every
/// processor of that level has besides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
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
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Host, Self::V2, Self::V3];
}

impl fmt::Display for CpuModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::V2 => "x86-64-v2",
            Self::V3 => "x86-64-v3",
        })
    }
}

/// There is no such model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no CPU model {0:?}; there are host, x86-64-v2 and x86-64-v3")]
pub struct UnknownCpuModel(String);

impl FromStr for CpuModel {
    type Err = UnknownCpuModel;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        (Self::ALL.into_iter())
            .find(|model| model.to_string() == name)
            .ok_or_else(|| UnknownCpuModel(name.to_owned()))
    }
}
