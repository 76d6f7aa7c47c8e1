use serde::{Deserialize, Serialize};

/// Everything about a socket device that a guest can observe, but for what the transport keeps.
/// Connections are not part of it: their other ends are the host's. A guest that continues from a
/// saved state is told that they are gone (section 5.10.6.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VsockState {
    /// The guest's address, 3 to 0xffff_fffe.
    pub guest_cid: u32,
    /// The driver has not been told yet that all connections are gone.
    pub transport_reset: bool,
    /// The port that the host's next connection comes from: the guest may still have something of
    /// earlier ones.
    pub next_port: u32,
}
