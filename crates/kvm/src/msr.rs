//! Model-specific registers: which belong to a vCPU's state, reading and writing them, and which the
//! guest is kept from.

use std::collections::BTreeSet;

use clade_engine::EngineError;
use kvm_bindings::{KVM_MAX_MSR_ENTRIES, Msrs, kvm_msr_entry};
use kvm_ioctls::{MsrFilterDefaultAction, MsrFilterRange, MsrFilterRangeFlags, VcpuFd, VmFd};
use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::engine::refused;

/// `IA32_TIME_STAMP_COUNTER`.
pub(crate) const TSC: u32 = 0x10;
/// `IA32_TSC_DEADLINE`.
pub(crate) const TSC_DEADLINE: u32 = 0x6e0;
/// `IA32_MCG_CAP`, whose lowest byte is the number of banks that report machine checks.
const MCG_CAP: u32 = 0x179;
/// The first register of the first bank; each has four.
const MCE_BANKS: u32 = 0x400;

/// Memory types: KVM keeps them, and does not list them (Intel SDM volume 3, 12.11).
const MTRRS: &[u32] = &[
    0x2ff, 0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f, 0x200,
    0x201, 0x202, 0x203, 0x204, 0x205, 0x206, 0x207, 0x208, 0x209, 0x20a, 0x20b, 0x20c, 0x20d,
    0x20e, 0x20f,
];

/// Ranges of registers that no guest gets, first and number, for what belongs to them is not offered to
/// it and no part of a saved state.
const DENIED: &[(u32, u32)] = &[
    (0x4000_0000, 0x200), // Hyper-V's interface
    (0x480, 0x14),        // VMX
    (0x560, 0x40),        // processor trace
    (0x680, 0x20),        // last branch records
    (0x6c0, 0x20),
    (0xdc0, 0x20),
    (0xc001_0114, 4),  // SVM
    (0xc001_1030, 12), // instruction-based sampling
];

fn is_denied(index: u32) -> bool {
    (DENIED.iter()).any(|(first, count)| (*first..*first + *count).contains(&index))
}

/// A register's number and value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Msr(pub(crate) u32, pub(crate) u64);

/// The registers that may be part of a vCPU's state on this host.
pub(crate) fn list(device: &Device) -> Result<Vec<u32>, EngineError> {
    let listed =
        (device.kvm.get_msr_index_list()).map_err(refused("to tell which registers vCPUs have"))?;
    let all: BTreeSet<u32> = (listed.as_slice().iter().copied())
        .chain(MTRRS.iter().copied())
        .filter(|index| !is_denied(*index))
        .collect();
    Ok(all.into_iter().collect())
}

/// Keeps the guest from registers that are not offered to it: reading and writing them faults.
pub(crate) fn deny(vm: &VmFd) -> Result<(), EngineError> {
    let bits: Vec<Vec<u8>> = (DENIED.iter())
        .map(|(_, count)| vec![0; count.div_ceil(8) as usize])
        .collect();
    let ranges: Vec<_> = (DENIED.iter().zip(&bits))
        .map(|((base, msr_count), bitmap)| MsrFilterRange {
            flags: MsrFilterRangeFlags::READ | MsrFilterRangeFlags::WRITE,
            base: *base,
            msr_count: *msr_count,
            bitmap,
        })
        .collect();
    vm.set_msr_filter(MsrFilterDefaultAction::ALLOW, &ranges)
        .map_err(refused("to keep a guest from registers"))
}

/// Reads those of `indices` that this vCPU has, and what its banks of machine checks hold.
pub(crate) fn read(fd: &VcpuFd, indices: &[u32]) -> Result<Vec<Msr>, EngineError> {
    let mut found = read_present(fd, indices)?;
    let banks = (found.iter())
        .find(|msr| msr.0 == MCG_CAP)
        .map_or(0, |msr| msr.1 as u32 & 0xff);
    let banks: Vec<u32> = (MCE_BANKS..MCE_BANKS + banks.min(32) * 4)
        .filter(|index| !indices.contains(index))
        .collect();
    found.extend(read_present(fd, &banks)?);
    Ok(found)
}

fn read_present(fd: &VcpuFd, indices: &[u32]) -> Result<Vec<Msr>, EngineError> {
    let mut found = Vec::with_capacity(indices.len());
    let mut rest = indices;
    while !rest.is_empty() {
        let some = &rest[..rest.len().min(KVM_MAX_MSR_ENTRIES)];
        let mut msrs = entries(some.iter().map(|index| Msr(*index, 0)))?;
        let count = (fd.get_msrs(&mut msrs)).map_err(refused("to read a vCPU's registers"))?;
        let read = &msrs.as_slice()[..count.min(some.len())];
        found.extend(read.iter().map(|entry| Msr(entry.index, entry.data)));
        // KVM stops at the first that this vCPU does not have.
        rest = &rest[(count + usize::from(count < some.len())).min(rest.len())..];
    }
    Ok(found)
}

/// Reads one register, 0 if the vCPU does not have it.
pub(crate) fn read_one(fd: &VcpuFd, index: u32) -> Result<u64, EngineError> {
    let found = read_present(fd, &[index])?;
    Ok(found.first().map_or(0, |msr| msr.1))
}

/// Writes registers in this order.
///
/// # Errors
/// When KVM does not take one, unless it has that value already.
pub(crate) fn write(fd: &VcpuFd, values: &[Msr]) -> Result<(), EngineError> {
    let mut rest = values;
    while !rest.is_empty() {
        let some = &rest[..rest.len().min(KVM_MAX_MSR_ENTRIES)];
        let msrs = entries(some.iter().copied())?;
        let count = (fd.set_msrs(&msrs)).map_err(refused("to write a vCPU's registers"))?;
        if let Some(refused) = some.get(count) {
            let present = read_present(fd, &[refused.0])?;
            if present.first() != Some(refused) {
                return Err(EngineError::State(format!(
                    "this host's KVM does not take {:#x} for model-specific register {:#x}\n\
                     Restore it on a host like the one that it is from.",
                    refused.1, refused.0
                )));
            }
        }
        rest = &rest[(count + usize::from(count < some.len())).min(rest.len())..];
    }
    Ok(())
}

fn entries(values: impl Iterator<Item = Msr>) -> Result<Msrs, EngineError> {
    let entries: Vec<_> = values
        .map(|Msr(index, data)| kvm_msr_entry {
            index,
            data,
            ..kvm_msr_entry::default()
        })
        .collect();
    Msrs::from_entries(&entries)
        .map_err(|_| EngineError::State("it has more registers than KVM takes".into()))
}
