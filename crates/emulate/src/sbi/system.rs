//! System reset (SBI spec, chapter 10).

use clade_engine::{Exit, SystemEvent};

use super::SbiError;

pub(super) const POWER_OFF: Exit = Exit::System(SystemEvent::PowerOff);

/// The event that a reset call asks for.
pub(super) fn reset(function: u64, [kind, reason, ..]: [u64; 6]) -> Result<Exit, SbiError> {
    const SYSTEM_FAILURE: u32 = 1;
    if function != 0 {
        return Err(SbiError::NotSupported);
    }
    // Both are 32 bits wide; reasons from 0xe0000000 on are vendors' own.
    match (kind as u32, reason as u32) {
        (_, 2..0xe000_0000) => Err(SbiError::InvalidParam),
        (0, SYSTEM_FAILURE) => Ok(Exit::System(SystemEvent::Fail(1))),
        (0, _) => Ok(POWER_OFF),
        (1 | 2, _) => Ok(Exit::System(SystemEvent::Reboot)),
        _ => Err(SbiError::InvalidParam),
    }
}
