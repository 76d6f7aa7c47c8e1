use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::MsixState;

/// Everything about the PCI bus that a guest can observe, but for what the functions keep
/// themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PciState {
    /// The functions, by slot.
    pub functions: BTreeMap<u8, FunctionState>,
    /// Which register the ports lead to, where there are any.
    pub address: u32,
}

/// What the bus keeps of a function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionState {
    /// The 256 bytes of its configuration space.
    pub config: Vec<u8>,
    /// Its MSI-X table, if it has one.
    pub msix: Option<MsixState>,
}
