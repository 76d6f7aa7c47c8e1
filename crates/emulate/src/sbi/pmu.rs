//! Performance monitoring (SBI spec, chapter 11): the two hardware counters that exist, and
//! firmware counters for what the built-in SBI itself does.

use serde::{Deserialize, Serialize};

use super::{SbiError, SbiResult};
use crate::core::Core;

/// Firmware events that can be counted, by their code (table 22).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u64)]
pub(crate) enum Firmware {
    SetTimer = 5,
    IpiSent = 6,
    FenceISent = 8,
    SfenceVmaSent = 10,
    SfenceVmaAsidSent = 12,
}

const FIRMWARE_EVENTS: [Firmware; 5] = [
    Firmware::SetTimer,
    Firmware::IpiSent,
    Firmware::FenceISent,
    Firmware::SfenceVmaSent,
    Firmware::SfenceVmaAsidSent,
];

const CYCLE: usize = 0;
const INSTRET: usize = 1;
const FIRST_FIRMWARE: usize = 2;
const FIRMWARE_COUNTERS: usize = 8;
const COUNTERS: usize = FIRST_FIRMWARE + FIRMWARE_COUNTERS;

/// A firmware counter in use.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Counter {
    event: Firmware,
    value: u64,
    running: bool,
}

/// A hart's counters.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Pmu {
    firmware: [Option<Counter>; FIRMWARE_COUNTERS],
    /// Which of the two hardware counters were handed out.
    hardware_used: [bool; FIRST_FIRMWARE],
}

impl Pmu {
    /// Notes that `event` happened on this hart.
    pub(crate) fn count(&mut self, event: Firmware) {
        for counter in self.firmware.iter_mut().flatten() {
            if counter.running && counter.event == event {
                counter.value = counter.value.wrapping_add(1);
            }
        }
    }
}

pub(super) fn call(core: &mut Core, function: u64, arguments: [u64; 6]) -> SbiResult {
    let [first, second, third, fourth, ..] = arguments;
    match function {
        0 => Ok(COUNTERS as u64),
        1 => info(first),
        2 => configure(core, counters(first, second)?, third, fourth),
        3 => start(core, counters(first, second)?, third, fourth),
        4 => stop(core, counters(first, second)?, third),
        5 => firmware_value(core, first),
        // Counters are 64 bits wide: nothing is left for the upper half.
        6 => firmware_value(core, first).map(|_| 0),
        _ => Err(SbiError::NotSupported),
    }
}

/// CSR number, width and kind of a counter.
fn info(index: u64) -> SbiResult {
    const WIDTH_64: u64 = 63 << 12;
    const FIRMWARE: u64 = 1 << 63;
    match index as usize {
        CYCLE => Ok(0xc00 | WIDTH_64),
        INSTRET => Ok(0xc02 | WIDTH_64),
        FIRST_FIRMWARE..COUNTERS => Ok(FIRMWARE),
        _ => Err(SbiError::InvalidParam),
    }
}

/// The counters that a base and a mask name. All must exist.
fn counters(base: u64, mask: u64) -> Result<Vec<usize>, SbiError> {
    (0..64)
        .filter(|bit| mask >> bit & 1 != 0)
        .map(|bit| match base.checked_add(bit) {
            Some(index) if index < COUNTERS as u64 => Ok(index as usize),
            _ => Err(SbiError::InvalidParam),
        })
        .collect()
}

/// Finds a counter among `candidates` for an event, and returns its index.
fn configure(core: &mut Core, candidates: Vec<usize>, flags: u64, event: u64) -> SbiResult {
    const SKIP_MATCH: u64 = 1 << 0;
    const CLEAR_VALUE: u64 = 1 << 1;
    const AUTO_START: u64 = 1 << 2;
    let index = if flags & SKIP_MATCH != 0 {
        candidates.first().copied()
    } else {
        candidates
            .into_iter()
            .find(|&index| can_count(&core.firmware_events, index, event))
    };
    let index = index.ok_or(SbiError::NotSupported)?;
    if index < FIRST_FIRMWARE {
        core.firmware_events.hardware_used[index] = true;
    } else {
        let event = firmware_event(event).ok_or(SbiError::NotSupported)?;
        let slot = &mut core.firmware_events.firmware[index - FIRST_FIRMWARE];
        let value = slot.map_or(0, |counter| counter.value);
        *slot = Some(Counter {
            event,
            value,
            running: false,
        });
    }
    if flags & CLEAR_VALUE != 0 {
        set_value(core, index, 0);
    }
    if flags & AUTO_START != 0 {
        set_running(core, index, true);
    }
    Ok(index as u64)
}

fn can_count(pmu: &Pmu, index: usize, event: u64) -> bool {
    const CPU_CYCLES: u64 = 1;
    const INSTRUCTIONS: u64 = 2;
    match index {
        CYCLE => event == CPU_CYCLES && !pmu.hardware_used[CYCLE],
        INSTRET => event == INSTRUCTIONS && !pmu.hardware_used[INSTRET],
        _ => pmu.firmware[index - FIRST_FIRMWARE].is_none() && firmware_event(event).is_some(),
    }
}

fn firmware_event(event: u64) -> Option<Firmware> {
    const FIRMWARE_TYPE: u64 = 15;
    let code = event & 0xffff;
    FIRMWARE_EVENTS
        .into_iter()
        .find(|&e| event >> 16 == FIRMWARE_TYPE && e as u64 == code)
}

fn start(core: &mut Core, indices: Vec<usize>, flags: u64, initial: u64) -> SbiResult {
    const SET_INITIAL_VALUE: u64 = 1 << 0;
    for index in indices {
        if is_running(core, index)? {
            return Err(SbiError::AlreadyStarted);
        }
        if flags & SET_INITIAL_VALUE != 0 {
            set_value(core, index, initial);
        }
        set_running(core, index, true);
    }
    Ok(0)
}

fn stop(core: &mut Core, indices: Vec<usize>, flags: u64) -> SbiResult {
    const RESET: u64 = 1 << 0;
    let mut result = Ok(0);
    for index in indices {
        if is_running(core, index)? {
            set_running(core, index, false);
        } else {
            result = Err(SbiError::AlreadyStopped);
        }
        if flags & RESET != 0 {
            if index < FIRST_FIRMWARE {
                // Nobody's any more: the CSR counts on for those who only read it.
                core.firmware_events.hardware_used[index] = false;
                set_running(core, index, true);
            } else {
                core.firmware_events.firmware[index - FIRST_FIRMWARE] = None;
            }
        }
    }
    result
}

fn firmware_value(core: &Core, index: u64) -> SbiResult {
    (index as usize)
        .checked_sub(FIRST_FIRMWARE)
        .and_then(|slot| core.firmware_events.firmware.get(slot).copied().flatten())
        .map(|counter| counter.value)
        .ok_or(SbiError::InvalidParam)
}

/// The bit of a hardware counter in `mcountinhibit`.
fn inhibit_bit(index: usize) -> u64 {
    if index == CYCLE { 1 << 0 } else { 1 << 2 }
}

fn is_running(core: &Core, index: usize) -> Result<bool, SbiError> {
    let pmu = &core.firmware_events;
    match index {
        CYCLE | INSTRET => {
            let counting = core.hart.csrs.mcountinhibit & inhibit_bit(index) == 0;
            Ok(counting && pmu.hardware_used[index])
        }
        _ => pmu.firmware[index - FIRST_FIRMWARE]
            .map(|counter| counter.running)
            .ok_or(SbiError::InvalidParam),
    }
}

fn set_running(core: &mut Core, index: usize, running: bool) {
    let hart = &mut core.hart;
    if index >= FIRST_FIRMWARE {
        if let Some(counter) = &mut core.firmware_events.firmware[index - FIRST_FIRMWARE] {
            counter.running = running;
        }
        return;
    }
    let bit = inhibit_bit(index);
    hart.csrs.mcountinhibit &= !bit;
    hart.csrs.mcountinhibit |= if running { 0 } else { bit };
    let counter = if index == CYCLE {
        &mut hart.csrs.mcycle
    } else {
        &mut hart.csrs.minstret
    };
    counter.set_inhibited(!running, hart.retired);
}

fn set_value(core: &mut Core, index: usize, value: u64) {
    let hart = &mut core.hart;
    match index {
        CYCLE => hart.csrs.mcycle.write(value, hart.retired),
        INSTRET => hart.csrs.minstret.write(value, hart.retired),
        _ => {
            if let Some(counter) = &mut core.firmware_events.firmware[index - FIRST_FIRMWARE] {
                counter.value = value;
            }
        }
    }
}
