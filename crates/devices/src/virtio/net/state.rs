use serde::{Deserialize, Serialize};

/// Everything about a network device that a guest can observe, but for what the transport keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetState {
    /// Its Ethernet address.
    pub mac: [u8; 6],
}
