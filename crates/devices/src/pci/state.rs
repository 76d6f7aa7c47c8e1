use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything about the PCI bus that a guest can observe, but for what the functions keep
/// themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PciState {
    /// The 256 bytes of configuration space of each function, by slot.
    pub functions: BTreeMap<u8, Vec<u8>>,
}
