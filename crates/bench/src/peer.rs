//! Those who are compared.

use std::str::FromStr;

use clade_vmm::spec::{Interrupts, Tier};

use crate::guest::{Boot, Guest};
use crate::{clade, qemu};

/// What runs the workloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// Clade, in this process.
    Clade,
    /// Clade without its translator.
    Interpreter,
    /// Clade with interrupts by wires alone.
    Plic,
    /// QEMU's TCG.
    Qemu,
    /// This host, with the same packages for its architecture.
    Native,
}

impl Peer {
    const ALL: [Peer; 5] = [
        Peer::Clade,
        Peer::Interpreter,
        Peer::Plic,
        Peer::Qemu,
        Peer::Native,
    ];

    /// Its name in tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Peer::Clade => "Clade",
            Peer::Interpreter => "interpreter",
            Peer::Plic => "PLIC",
            Peer::Qemu => "QEMU",
            Peer::Native => "native",
        }
    }

    /// Starts a guest.
    pub(crate) fn start(self, qemu: &str, boot: &Boot<'_>) -> Result<Box<dyn Guest>, String> {
        match self {
            Peer::Clade => clade::start(Tier::Auto, Interrupts::Aia, boot),
            Peer::Plic => clade::start(Tier::Auto, Interrupts::Plic, boot),
            Peer::Interpreter => clade::start(Tier::Interpreter, Interrupts::Aia, boot),
            Peer::Qemu => qemu::start(qemu, boot),
            Peer::Native => Err("this host is no guest".into()),
        }
    }
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|peer| peer.title().eq_ignore_ascii_case(text))
            .ok_or_else(|| {
                format!("{text:?} is no peer: clade, interpreter, plic, qemu and native are")
            })
    }
}
