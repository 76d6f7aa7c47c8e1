use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The board's flash: firmware that runs above the SBI, as UEFI does, and its variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlashSpec {
    /// The firmware, at most 32 MiB. What the guest writes to it is gone with the machine's run.
    pub code: PathBuf,
    /// The variables, exactly 32 MiB. What the guest writes is kept there.
    pub variables: PathBuf,
}
