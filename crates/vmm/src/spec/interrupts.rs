use serde::{Deserialize, Serialize};

/// How devices reach the harts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interrupts {
    /// By wires alone, over a platform-level interrupt controller: every kernel knows it.
    #[default]
    Plic,
    /// By messages to a controller in each hart (IMSIC), and by wires that become messages (APLIC): the
    /// Advanced Interrupt Architecture. Linux knows it since 6.10.
    Aia,
}

impl Interrupts {
    /// Every one, in the order in which people are told of them.
    pub const ALL: [Self; 2] = [Self::Plic, Self::Aia];

    /// Its name, as the command line and the spec have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plic => "plic",
            Self::Aia => "aia",
        }
    }
}
