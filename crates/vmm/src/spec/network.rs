use clade_net::{Forward, Host};
use serde::{Deserialize, Serialize};

/// What a machine's network card is connected to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkSpec {
    /// There is no card.
    #[default]
    None,
    /// The user-mode network: the world by way of the host's sockets.
    User(OutsideSpec),
}

impl NetworkSpec {
    /// Whether the machine's process makes connections of its own.
    pub fn reaches_out(&self) -> bool {
        match self {
            Self::None => false,
            Self::User(_) => true,
        }
    }
}

/// What goes out of, and into, a user-mode network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OutsideSpec {
    /// Ports of the host that lead to the guest.
    pub forwards: Vec<Forward>,
    /// If there are any, the only hosts that the guest may reach.
    pub allow: Vec<Host>,
    /// Hosts that the guest may not reach.
    pub deny: Vec<Host>,
}
