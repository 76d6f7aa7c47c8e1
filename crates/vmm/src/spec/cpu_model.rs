use serde::{Deserialize, Serialize};

/// What the processors of a machine on KVM can do. The others have one model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CpuModel {
    /// All that the host's can.
    #[default]
    #[serde(rename = "host")]
    Host,
    /// Level 2 of the x86-64 psABI: what processors can since about 2009.
    #[serde(rename = "x86-64-v2")]
    V2,
    /// Level 3: what most can since about 2015.
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
