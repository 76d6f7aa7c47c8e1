//! The built-in Supervisor Binary Interface 2.0: what a kernel in S-mode may ask of the machine,
//! when no firmware runs in M-mode.

mod console;
mod hart_state;
pub(crate) mod pmu;
mod remote;
mod system;

use std::sync::Arc;

use crate::core::Core;
use crate::interpreter::Flow;

/// Where the debug console extension prints and reads.
pub trait DebugConsole: Send + Sync {
    /// Prints bytes.
    fn write(&self, bytes: &[u8]);

    /// Reads what has been typed, without waiting; returns how many bytes.
    fn read(&self, buffer: &mut [u8]) -> usize;
}

/// The built-in SBI of a machine.
pub(crate) struct Sbi {
    pub(crate) console: Arc<dyn DebugConsole>,
}

/// Error codes (SBI spec, table 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
enum SbiError {
    NotSupported = -2,
    InvalidParam = -3,
    Denied = -4,
    InvalidAddress = -5,
    AlreadyAvailable = -6,
    AlreadyStarted = -7,
    AlreadyStopped = -8,
}

type SbiResult = Result<u64, SbiError>;

/// Extension ids.
mod eid {
    pub(super) const LEGACY_SET_TIMER: u64 = 0;
    pub(super) const LEGACY_PUTCHAR: u64 = 1;
    pub(super) const LEGACY_GETCHAR: u64 = 2;
    pub(super) const LEGACY_SHUTDOWN: u64 = 8;
    pub(super) const BASE: u64 = 0x10;
    pub(super) const TIME: u64 = 0x5449_4d45;
    pub(super) const IPI: u64 = 0x73_5049;
    pub(super) const RFENCE: u64 = 0x5246_4e43;
    pub(super) const HSM: u64 = 0x48_534d;
    pub(super) const SRST: u64 = 0x5352_5354;
    pub(super) const DBCN: u64 = 0x4442_434e;
    pub(super) const SUSP: u64 = 0x5355_5350;
    pub(super) const PMU: u64 = 0x50_4d55;

    pub(super) const ALL: [u64; 13] = [
        LEGACY_SET_TIMER,
        LEGACY_PUTCHAR,
        LEGACY_GETCHAR,
        LEGACY_SHUTDOWN,
        BASE,
        TIME,
        IPI,
        RFENCE,
        HSM,
        SRST,
        DBCN,
        SUSP,
        PMU,
    ];
}

const SPEC_VERSION_2_0: u64 = 2 << 24;

/// Not registered; "clade" in a leet hexadecimal, so that logs tell whose firmware spoke.
const IMPLEMENTATION_ID: u64 = 0xc1ade;

const A0: usize = 10;
const A1: usize = 11;
const A6: usize = 16;
const A7: usize = 17;

/// Serves the call in the hart's registers. The hart is in S-mode.
#[inline(never)]
pub(crate) fn call(core: &mut Core) -> Flow {
    let x = &core.hart.x;
    let (extension, function) = (x[A7], x[A6]);
    let arguments = [x[A0], x[A1], x[12], x[13], x[14], x[15]];
    let result = match extension {
        eid::BASE => base(function, arguments[0]),
        eid::TIME => match function {
            0 => set_timer(core, arguments[0]),
            _ => Err(SbiError::NotSupported),
        },
        eid::IPI | eid::RFENCE => remote::call(core, extension, function, arguments),
        eid::HSM => hart_state::call(core, function, arguments),
        eid::SUSP => hart_state::system_suspend(core, function, arguments),
        eid::DBCN => console::call(core, function, arguments),
        eid::PMU => pmu::call(core, function, arguments),
        eid::SRST => match system::reset(function, arguments) {
            Ok(event) => return Flow::Exit(event),
            Err(error) => Err(error),
        },
        eid::LEGACY_SET_TIMER..=eid::LEGACY_SHUTDOWN => {
            return legacy(core, extension, arguments[0]);
        }
        _ => Err(SbiError::NotSupported),
    };
    let (error, value) = match result {
        Ok(value) => (0, value),
        Err(error) => (error as i64 as u64, 0),
    };
    core.hart.x[A0] = error;
    core.hart.x[A1] = value;
    Flow::Recheck
}

/// Chapter 4: the base extension.
fn base(function: u64, argument: u64) -> SbiResult {
    match function {
        0 => Ok(SPEC_VERSION_2_0),
        1 => Ok(IMPLEMENTATION_ID),
        2 => Ok(1),
        3 => Ok(u64::from(eid::ALL.contains(&argument))),
        // mvendorid, marchid, mimpid: as the CSRs.
        4..=6 => Ok(0),
        _ => Err(SbiError::NotSupported),
    }
}

/// Chapter 6: the timer extension, on top of Sstc.
fn set_timer(core: &mut Core, deadline: u64) -> SbiResult {
    core.firmware_events.count(pmu::Firmware::SetTimer);
    core.hart.csrs.stimecmp = deadline;
    core.read_clock();
    Ok(0)
}

/// Chapter 5: the calls of SBI 0.1 that kernels still use before they have found the others.
/// They return one value only.
fn legacy(core: &mut Core, extension: u64, argument: u64) -> Flow {
    let result = match extension {
        eid::LEGACY_SET_TIMER => set_timer(core, argument).map_or(u64::MAX, |value| value),
        eid::LEGACY_PUTCHAR => {
            console::write_bytes(core, &[argument as u8]);
            0
        }
        eid::LEGACY_GETCHAR => {
            let mut byte = [0];
            match console::read_bytes(core, &mut byte) {
                0 => u64::MAX,
                _ => u64::from(byte[0]),
            }
        }
        eid::LEGACY_SHUTDOWN => return Flow::Exit(system::POWER_OFF),
        _ => SbiError::NotSupported as i64 as u64,
    };
    core.hart.x[A0] = result;
    Flow::Recheck
}
