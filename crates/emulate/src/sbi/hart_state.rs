//! Hart state management and system suspend (SBI spec, chapters 9 and 13).

use super::{SbiError, SbiResult};
use crate::core::Core;
use crate::hsm::{Entry, HsmState};

pub(super) fn call(core: &mut Core, function: u64, arguments: [u64; 6]) -> SbiResult {
    let [first, address, opaque, ..] = arguments;
    match function {
        0 => start(core, first, Entry { address, opaque }),
        1 => {
            leave(core, HsmState::Stopped);
            Ok(0)
        }
        2 => {
            let port = core
                .shared
                .ports
                .get(first as usize)
                .ok_or(SbiError::InvalidParam)?;
            Ok(port.with_hsm(|state| state.sbi_status()))
        }
        3 => suspend(core, first as u32, Entry { address, opaque }),
        _ => Err(SbiError::NotSupported),
    }
}

fn start(core: &Core, hart: u64, entry: Entry) -> SbiResult {
    let port = core
        .shared
        .ports
        .get(hart as usize)
        .ok_or(SbiError::InvalidParam)?;
    check_address(core, entry)?;
    port.with_hsm(|state| match state {
        HsmState::Stopped => {
            *state = HsmState::StartPending(entry);
            Ok(())
        }
        _ => Err(SbiError::AlreadyAvailable),
    })?;
    port.notify();
    Ok(0)
}

fn suspend(core: &Core, kind: u32, entry: Entry) -> SbiResult {
    const RETENTIVE: u32 = 0;
    const NON_RETENTIVE: u32 = 0x8000_0000;
    let resume = match kind {
        RETENTIVE => None,
        NON_RETENTIVE => {
            check_address(core, entry)?;
            Some(entry)
        }
        // Platform-specific kinds, of which there are none, and reserved ones.
        0x1000_0000..=0x7fff_ffff | 0x9000_0000..=0xffff_ffff => {
            return Err(SbiError::NotSupported);
        }
        _ => return Err(SbiError::InvalidParam),
    };
    leave(core, HsmState::Suspended(resume));
    Ok(0)
}

/// Suspend to RAM: as a hart's own suspension, when it is the last one that runs.
pub(super) fn system_suspend(core: &mut Core, function: u64, arguments: [u64; 6]) -> SbiResult {
    const TO_RAM: u32 = 0;
    let [kind, address, opaque, ..] = arguments;
    let entry = Entry { address, opaque };
    if function != 0 {
        return Err(SbiError::NotSupported);
    }
    if kind as u32 != TO_RAM {
        return Err(SbiError::InvalidParam);
    }
    check_address(core, entry)?;
    let me = core.hart.csrs.mhartid as usize;
    let others = core
        .shared
        .ports
        .iter()
        .enumerate()
        .filter(|&(hart, _)| hart != me);
    for (_, port) in others {
        if port.with_hsm(|state| *state) != HsmState::Stopped {
            return Err(SbiError::Denied);
        }
    }
    leave(core, HsmState::Suspended(Some(entry)));
    Ok(0)
}

/// The hart goes into `state` before its next instruction.
fn leave(core: &Core, state: HsmState) {
    core.port.with_hsm(|current| *current = state);
    core.port.notify();
}

fn check_address(core: &Core, entry: Entry) -> Result<(), SbiError> {
    let aligned = entry.address & 1 == 0;
    let ram = core.shared.memory.host(entry.address, 2).is_some();
    if aligned && ram {
        Ok(())
    } else {
        Err(SbiError::InvalidAddress)
    }
}
