//! How a machine's vCPUs belong together: one package, a core each, one thread in each core.

use super::leaves::{Leaves, Register, Word};

/// Types of levels in leaf 0xb (Intel SDM volume 2, CPUID).
const THREADS: u32 = 1;
const CORES: u32 = 2;

/// Writes what vCPU `index` of `cpus` is told of itself and the others. Its APIC's ID is `index`.
pub(super) fn describe(leaves: &mut Leaves, index: u32, cpus: u32) {
    // So many bits of an APIC's ID tell the cores of a package apart.
    let bits = cpus.next_power_of_two().trailing_zeros();
    basic(leaves, index, cpus);
    caches(leaves, cpus, 1 << bits);
    levels(leaves, index, cpus, bits);
    amd(leaves, index, cpus, bits);
}

fn basic(leaves: &mut Leaves, index: u32, cpus: u32) {
    let several = cpus > 1;
    leaves.change(Word(1, 0, Register::Ebx), |ebx| {
        ebx & 0x0000_ffff | cpus.min(255) << 16 | (index & 0xff) << 24
    });
    leaves.change(Word(1, 0, Register::Edx), |edx| {
        edx & !(1 << 28) | u32::from(several) << 28
    });
}

/// Leaf 4, and 0x8000001d, which AMD made like it. Only the last level is shared.
fn caches(leaves: &mut Leaves, cpus: u32, ids: u32) {
    for entry in &mut leaves.0 {
        if !matches!(entry.function, 4 | 0x8000_001d) {
            continue;
        }
        let level = entry.eax >> 5 & 7;
        let sharing = if level >= 3 { ids } else { 1 };
        let kept = if entry.function == 4 {
            0x3fff
        } else {
            0xfc00_3fff
        };
        entry.eax = entry.eax & kept | (sharing - 1) << 14;
        if entry.function == 4 {
            entry.eax |= (cpus.min(64).next_power_of_two() - 1) << 26;
        }
    }
}

/// Leaf 0xb.
fn levels(leaves: &mut Leaves, index: u32, cpus: u32, bits: u32) {
    leaves.remove(0xb);
    for (subleaf, kind, shift, count) in [(0, THREADS, 0, 1), (1, CORES, bits, cpus), (2, 0, 0, 0)]
    {
        let entry = leaves.entry(0xb, subleaf, true);
        entry.eax = shift;
        entry.ebx = count;
        entry.ecx = kind << 8 | subleaf;
        entry.edx = index;
    }
}

/// AMD APM volume 3, appendix E.4.7 and E.4.17.
fn amd(leaves: &mut Leaves, index: u32, cpus: u32, bits: u32) {
    leaves.change(Word(0x8000_0008, 0, Register::Ecx), |_| {
        (cpus - 1) & 0xff | bits << 12
    });
    if let Some(entry) = leaves
        .0
        .iter_mut()
        .find(|entry| entry.function == 0x8000_001e)
    {
        entry.eax = index;
        entry.ebx = index & 0xff;
        entry.ecx = 0;
    }
}
