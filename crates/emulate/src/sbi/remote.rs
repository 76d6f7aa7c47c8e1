//! Inter-processor interrupts and remote fences (SBI spec, chapters 7 and 8).

use super::pmu::Firmware;
use super::{SbiError, SbiResult, eid};
use crate::core::Core;
use crate::port::request;

pub(super) fn call(
    core: &mut Core,
    extension: u64,
    function: u64,
    [mask, base, ..]: [u64; 6],
) -> SbiResult {
    let (bits, event) = match (extension, function) {
        (eid::IPI, 0) => (request::SOFTWARE_INTERRUPT, Firmware::IpiSent),
        (eid::RFENCE, 0) => (request::FENCE_I, Firmware::FenceISent),
        // Ranges are not worth telling apart: a TLB is refilled quickly.
        (eid::RFENCE, 1) => (request::FENCE_VMA, Firmware::SfenceVmaSent),
        (eid::RFENCE, 2) => (request::FENCE_VMA, Firmware::SfenceVmaAsidSent),
        _ => return Err(SbiError::NotSupported),
    };
    let targets = harts(core, mask, base)?;
    core.firmware_events.count(event);
    for &hart in &targets {
        core.shared.ports[hart].request(bits);
    }
    if bits != request::SOFTWARE_INTERRUPT {
        wait(core, &targets, bits);
    }
    Ok(0)
}

/// The harts that `mask` names from `base` on; all of them when `base` is -1.
fn harts(core: &Core, mask: u64, base: u64) -> Result<Vec<usize>, SbiError> {
    let count = core.shared.ports.len();
    if base == u64::MAX {
        return Ok((0..count).collect());
    }
    let named = (0..64).filter(|bit| mask >> bit & 1 != 0);
    named
        .map(|bit| {
            let hart = base.checked_add(bit).ok_or(SbiError::InvalidParam)? as usize;
            if hart < count {
                Ok(hart)
            } else {
                Err(SbiError::InvalidParam)
            }
        })
        .collect()
}

/// Waits until none of `targets` can execute another instruction without having done `bits`.
/// Meanwhile this hart serves its own requests: two harts may fence each other.
fn wait(core: &mut Core, targets: &[usize], bits: u32) {
    let mut kicked = false;
    for &hart in targets {
        let port = core.shared.ports[hart].clone();
        loop {
            kicked |= core.serve_requests();
            if !port.is_pending(bits) {
                break;
            }
            std::thread::yield_now();
        }
    }
    if kicked {
        core.port.request(request::KICK);
    }
}
