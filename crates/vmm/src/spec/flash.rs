use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The board's flash: UEFI firmware, which runs above the SBI on RISC-V, and its variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlashSpec {
    /// The firmware: at most 32 MiB on RISC-V, on x86-64 8 MiB in pages of 4 KiB. What the guest writes to it
    /// is gone with the machine's run.
    pub code: PathBuf,
    /// The variables: exactly 32 MiB on RISC-V, on x86-64 at most 8 MiB in pages of 4 KiB. What the guest
    /// writes is kept there.
    pub variables: PathBuf,
}
