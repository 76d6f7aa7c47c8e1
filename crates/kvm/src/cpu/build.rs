//! Making a vCPU's CPUID from what this host's KVM supports.

use clade_engine::{CpuModel, EngineError};
use kvm_ioctls::Cap;

use super::features::{FEATURE_WORDS, missing_for, of_model, word};
use super::leaves::{Leaves, MAX_LEAVES, Register, Word};
use super::topology;
use crate::device::Device;
use crate::engine::refused;

/// What the vCPUs of a machine have in common, and what this host could give at most.
pub(crate) struct Cpuid {
    common: Leaves,
    /// The most that a saved vCPU may have been told to be run here.
    host: Leaves,
    cpus: u32,
}

/// Leaves of what guests do not get: they, and what has them in its name, read zero.
const HIDDEN_LEAVES: &[u32] = &[
    0x0a, // performance counters
    0x10, // resource allocation
    0x12, // SGX
    0x14, // processor trace
    0x15, // frequencies: the guest reads its clock's from KVM
    0x16,
    0x1c,        // last branch records
    0x1f,        // topology; there is 0xb
    0x8000_000a, // SVM
    0x8000_001b, // instruction-based sampling
    0x8000_001f, // memory encryption
    0x8000_0022, // performance counters
    0x8000_0026, // topology; there is 0xb
];

/// Bits that guests do not get, since the state that belongs to them is not saved.
const HIDDEN_BITS: &[(Word, u32)] = &[
    (word::BASIC_ECX, 1 << 5),                         // VMX
    (word::BASIC_ECX, 1 << 15),                        // PDCM: performance capabilities
    (word::STRUCTURED_EBX, 1 << 2),                    // SGX
    (word::STRUCTURED_EBX, 1 << 25),                   // processor trace
    (word::STRUCTURED_EDX, 1 << 19),                   // last branch records
    (word::EXTENDED_ECX, 1 << 2),                      // SVM
    (word::EXTENDED_ECX, 1 << 10),                     // IBS
    (word::EXTENDED_ECX, 1 << 19),                     // node ID MSR
    (word::EXTENDED_ECX, 1 << 23 | 1 << 24 | 1 << 28), // performance counters
    (word::POWER, 1 << 8), // a TSC whose rate never changes: it does on another host
    (word::KVM, 1 << 15),  // destinations of more than 8 bits in messages
];

/// Bits that follow from the machine or from what the guest does, and so say nothing of the host.
pub(super) const DYNAMIC_BITS: &[(Word, u32)] = &[
    (word::BASIC_ECX, 1 << 27),     // OSXSAVE
    (word::BASIC_EDX, 1 << 9),      // the APIC is on
    (word::BASIC_EDX, 1 << 28),     // there are several
    (word::STRUCTURED_ECX, 1 << 4), // OSPKE
    (word::EXTENDED_ECX, 1 << 1),   // there are several
    (word::EXTENDED_EDX, 1 << 9),
];

/// KVM emulates this timer of the local APIC, and not all versions say so in CPUID.
const TSC_DEADLINE: u32 = 1 << 24;
const HYPERVISOR: u32 = 1 << 31;

impl Cpuid {
    /// For a machine with `cpus` vCPUs of `model`.
    pub(crate) fn new(device: &Device, model: CpuModel, cpus: u32) -> Result<Self, EngineError> {
        let supported = (device.kvm.get_supported_cpuid(MAX_LEAVES))
            .map_err(refused("to tell what its processor can do"))?;
        let deadline = device.kvm.check_extension(Cap::TscDeadlineTimer);
        let host = given(Leaves(supported.as_slice().to_vec()), deadline);
        let missing = missing_for(model, &host);
        if !missing.is_empty() {
            return Err(EngineError::Unsupported(format!(
                "this host's processor cannot be {model}: it lacks {}\n\
                 `--cpu-model host` takes what is there.",
                missing.join(", ")
            )));
        }
        Ok(Self {
            common: of(model, host.clone()),
            host,
            cpus,
        })
    }

    /// The most that a vCPU can be told here.
    pub(crate) fn host(&self) -> &Leaves {
        &self.host
    }

    /// What vCPU `index` is told.
    pub(crate) fn of_vcpu(&self, index: u32) -> Leaves {
        let mut leaves = self.common.clone();
        topology::describe(&mut leaves, index, self.cpus);
        leaves
    }
}

/// What KVM supports, as far as guests get it.
fn given(mut leaves: Leaves, deadline: bool) -> Leaves {
    HIDDEN_LEAVES.iter().for_each(|leaf| leaves.remove(*leaf));
    for (word, bits) in HIDDEN_BITS {
        leaves.change(*word, |value| value & !bits);
    }
    leaves.change(word::BASIC_ECX, |value| {
        value | HYPERVISOR | if deadline { TSC_DEADLINE } else { 0 }
    });
    leaves
}

/// What a model has of that.
fn of(model: CpuModel, mut leaves: Leaves) -> Leaves {
    if model == CpuModel::Host {
        return leaves;
    }
    for feature_word in FEATURE_WORDS {
        let mut mask = of_model(model, *feature_word);
        // AMD's processors repeat the basic features here.
        if *feature_word == word::EXTENDED_EDX {
            mask |= of_model(model, word::BASIC_EDX) & EXTENDED_ALIASES;
        }
        leaves.change(*feature_word, |value| value & mask);
    }
    limit_state(&mut leaves);
    brand(&mut leaves, model);
    // No leaves of features that there are only in later models.
    leaves.change(Word(0, 0, Register::Eax), |last| last.min(0xd));
    leaves
        .0
        .retain(|entry| entry.function <= 0xd || entry.function >= 0x4000_0000);
    leaves
}

/// AMD APM volume 3, appendix E.4.2: bits of leaf 0x80000001's EDX that are those of leaf 1.
const EXTENDED_ALIASES: u32 = 0x0183_f3ff;

/// The state that XSAVE saves: of AVX, where there is AVX at all (Intel SDM volume 1, 13.2).
fn limit_state(leaves: &mut Leaves) {
    const LEGACY_AND_HEADER: u32 = 512 + 64;
    let components = leaves.get(word::STATE_COMPONENTS);
    leaves.0.retain(|entry| {
        entry.function != 0xd
            || entry.index < 2
            || (entry.index < 32 && components & 1 << entry.index != 0)
    });
    let end = (leaves.0.iter())
        .filter(|entry| entry.function == 0xd && entry.index >= 2)
        .map(|entry| entry.ebx.saturating_add(entry.eax))
        .max();
    leaves.change(Word(0xd, 0, Register::Ecx), |_| match components {
        0 => 0,
        _ => end.unwrap_or(LEGACY_AND_HEADER).max(LEGACY_AND_HEADER),
    });
}

/// The processor's name, 48 bytes in three leaves.
fn brand(leaves: &mut Leaves, model: CpuModel) {
    let mut name = format!("Clade {model}").into_bytes();
    name.resize(48, 0);
    for (leaf, part) in (0x8000_0002..).zip(name.chunks_exact(16)) {
        let word =
            |at: usize| u32::from_le_bytes([part[at], part[at + 1], part[at + 2], part[at + 3]]);
        let entry = leaves.entry(leaf, 0, false);
        (entry.eax, entry.ebx) = (word(0), word(4));
        (entry.ecx, entry.edx) = (word(8), word(12));
    }
}
