use serde::{Deserialize, Serialize};

/// Everything about named serial ports that a guest can observe, but for what the transport keeps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SerialState {
    /// The ports, from port 1 on.
    pub ports: Vec<PortState>,
}

/// Of one port. Apart from the name, any value is a valid one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortState {
    /// The name by which the guest knows it.
    pub name: String,
    /// The driver has not been told yet that there is this port.
    pub unannounced: bool,
    /// The driver has not been told the port's name yet, though it asked.
    pub unnamed: bool,
    /// The driver has set the port up.
    pub ready: bool,
    /// A program in the guest has the port open.
    pub guest_open: bool,
    /// The driver was told that somebody on the host has it open.
    pub host_open: bool,
    /// How many bytes of the driver's next buffer the host has taken already.
    pub taken: u64,
}
