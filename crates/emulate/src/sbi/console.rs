//! Debug console (SBI spec, chapter 12).

use super::{SbiError, SbiResult};
use crate::core::Core;

/// The most bytes that one call moves; callers repeat for the rest.
const CHUNK: usize = 4096;

pub(super) fn call(core: &mut Core, function: u64, [first, low, high, ..]: [u64; 6]) -> SbiResult {
    match function {
        0 => write(core, first, low, high),
        1 => read(core, first, low, high),
        2 => {
            write_bytes(core, &[first as u8]);
            Ok(0)
        }
        _ => Err(SbiError::NotSupported),
    }
}

fn write(core: &Core, length: u64, low: u64, high: u64) -> SbiResult {
    let mut buffer = [0; CHUNK];
    let bytes = &mut buffer[..length.min(CHUNK as u64) as usize];
    let memory = &core.shared.memory;
    memory
        .read(physical(low, high)?, bytes)
        .ok_or(SbiError::InvalidParam)?;
    write_bytes(core, bytes);
    Ok(bytes.len() as u64)
}

fn read(core: &Core, length: u64, low: u64, high: u64) -> SbiResult {
    let address = physical(low, high)?;
    let length = length.min(CHUNK as u64);
    // What was typed must not be lost to a bad address.
    core.shared
        .memory
        .host(address, length)
        .ok_or(SbiError::InvalidParam)?;
    let mut buffer = [0; CHUNK];
    let count = read_bytes(core, &mut buffer[..length as usize]);
    core.shared
        .memory
        .write(address, &buffer[..count])
        .ok_or(SbiError::InvalidParam)?;
    Ok(count as u64)
}

fn physical(low: u64, high: u64) -> SbiResult {
    if high == 0 {
        Ok(low)
    } else {
        Err(SbiError::InvalidParam)
    }
}

pub(super) fn write_bytes(core: &Core, bytes: &[u8]) {
    if let Some(sbi) = &core.shared.sbi {
        sbi.console.write(bytes);
    }
}

pub(super) fn read_bytes(core: &Core, buffer: &mut [u8]) -> usize {
    core.shared
        .sbi
        .as_ref()
        .map_or(0, |sbi| sbi.console.read(buffer))
}
