//! Features by name.

use clade_engine::CpuModel;

use super::leaves::{Leaves, Register, Word};
use Register::{Eax, Ebx, Ecx, Edx};

/// Which models have a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// All.
    Base,
    /// From `x86-64-v2` on.
    V2,
    /// From `x86-64-v3` on.
    V3,
}

/// A bit of CPUID that the named models are made of.
pub(super) struct Feature {
    pub(super) name: &'static str,
    pub(super) word: Word,
    pub(super) bit: u32,
    pub(super) level: Level,
}

/// CPUID's leaves of features.
pub(super) mod word {
    use super::*;

    pub(in super::super) const BASIC_ECX: Word = Word(1, 0, Ecx);
    pub(in super::super) const BASIC_EDX: Word = Word(1, 0, Edx);
    pub(in super::super) const STRUCTURED_EBX: Word = Word(7, 0, Ebx);
    pub(in super::super) const STRUCTURED_ECX: Word = Word(7, 0, Ecx);
    pub(in super::super) const STRUCTURED_EDX: Word = Word(7, 0, Edx);
    pub(in super::super) const STATE_COMPONENTS: Word = Word(0xd, 0, Eax);
    pub(in super::super) const STATE_COMPONENTS_HIGH: Word = Word(0xd, 0, Edx);
    pub(in super::super) const STATE_FEATURES: Word = Word(0xd, 1, Eax);
    pub(in super::super) const SUPERVISOR_COMPONENTS: Word = Word(0xd, 1, Ecx);
    pub(in super::super) const EXTENDED_ECX: Word = Word(0x8000_0001, 0, Ecx);
    pub(in super::super) const EXTENDED_EDX: Word = Word(0x8000_0001, 0, Edx);
    pub(in super::super) const POWER: Word = Word(0x8000_0007, 0, Edx);
    pub(in super::super) const EXTENDED_EBX: Word = Word(0x8000_0008, 0, Ebx);
    pub(in super::super) const KVM: Word = Word(0x4000_0001, 0, Eax);
}

/// All words that hold nothing but features: what a guest was told there it may use at any time.
pub(super) const FEATURE_WORDS: &[Word] = &[
    word::BASIC_ECX,
    word::BASIC_EDX,
    word::STRUCTURED_EBX,
    word::STRUCTURED_ECX,
    word::STRUCTURED_EDX,
    Word(7, 1, Eax),
    Word(7, 1, Ebx),
    Word(7, 1, Ecx),
    Word(7, 1, Edx),
    Word(7, 2, Edx),
    word::STATE_COMPONENTS,
    word::STATE_COMPONENTS_HIGH,
    word::STATE_FEATURES,
    word::SUPERVISOR_COMPONENTS,
    Word(0xd, 1, Edx),
    word::EXTENDED_ECX,
    word::EXTENDED_EDX,
    word::POWER,
    word::EXTENDED_EBX,
    Word(0x8000_0021, 0, Eax),
    word::KVM,
];

const fn feature(name: &'static str, word: Word, bit: u32, level: Level) -> Feature {
    Feature {
        name,
        word,
        bit,
        level,
    }
}

/// What the named models consist of. Names are those of `/proc/cpuinfo`.
pub(super) const FEATURES: &[Feature] = &[
    feature("fpu", word::BASIC_EDX, 0, Level::Base),
    feature("de", word::BASIC_EDX, 2, Level::Base),
    feature("pse", word::BASIC_EDX, 3, Level::Base),
    feature("tsc", word::BASIC_EDX, 4, Level::Base),
    feature("msr", word::BASIC_EDX, 5, Level::Base),
    feature("pae", word::BASIC_EDX, 6, Level::Base),
    feature("mce", word::BASIC_EDX, 7, Level::Base),
    feature("cx8", word::BASIC_EDX, 8, Level::Base),
    feature("apic", word::BASIC_EDX, 9, Level::Base),
    feature("sep", word::BASIC_EDX, 11, Level::Base),
    feature("mtrr", word::BASIC_EDX, 12, Level::Base),
    feature("pge", word::BASIC_EDX, 13, Level::Base),
    feature("mca", word::BASIC_EDX, 14, Level::Base),
    feature("cmov", word::BASIC_EDX, 15, Level::Base),
    feature("pat", word::BASIC_EDX, 16, Level::Base),
    feature("pse36", word::BASIC_EDX, 17, Level::Base),
    feature("clflush", word::BASIC_EDX, 19, Level::Base),
    feature("mmx", word::BASIC_EDX, 23, Level::Base),
    feature("fxsr", word::BASIC_EDX, 24, Level::Base),
    feature("sse", word::BASIC_EDX, 25, Level::Base),
    feature("sse2", word::BASIC_EDX, 26, Level::Base),
    feature("pni", word::BASIC_ECX, 0, Level::V2),
    feature("pclmulqdq", word::BASIC_ECX, 1, Level::V3),
    feature("ssse3", word::BASIC_ECX, 9, Level::V2),
    feature("fma", word::BASIC_ECX, 12, Level::V3),
    feature("cx16", word::BASIC_ECX, 13, Level::V2),
    feature("sse4_1", word::BASIC_ECX, 19, Level::V2),
    feature("sse4_2", word::BASIC_ECX, 20, Level::V2),
    feature("x2apic", word::BASIC_ECX, 21, Level::Base),
    feature("movbe", word::BASIC_ECX, 22, Level::V3),
    feature("popcnt", word::BASIC_ECX, 23, Level::V2),
    feature("tsc_deadline_timer", word::BASIC_ECX, 24, Level::Base),
    feature("aes", word::BASIC_ECX, 25, Level::V3),
    feature("xsave", word::BASIC_ECX, 26, Level::V3),
    feature("avx", word::BASIC_ECX, 28, Level::V3),
    feature("f16c", word::BASIC_ECX, 29, Level::V3),
    feature("hypervisor", word::BASIC_ECX, 31, Level::Base),
    feature("fsgsbase", word::STRUCTURED_EBX, 0, Level::V3),
    feature("tsc_adjust", word::STRUCTURED_EBX, 1, Level::Base),
    feature("bmi1", word::STRUCTURED_EBX, 3, Level::V3),
    feature("avx2", word::STRUCTURED_EBX, 5, Level::V3),
    feature("smep", word::STRUCTURED_EBX, 7, Level::V3),
    feature("bmi2", word::STRUCTURED_EBX, 8, Level::V3),
    feature("x87 state", word::STATE_COMPONENTS, 0, Level::V3),
    feature("sse state", word::STATE_COMPONENTS, 1, Level::V3),
    feature("avx state", word::STATE_COMPONENTS, 2, Level::V3),
    feature("lahf_lm", word::EXTENDED_ECX, 0, Level::V2),
    feature("abm", word::EXTENDED_ECX, 5, Level::V3),
    feature("syscall", word::EXTENDED_EDX, 11, Level::Base),
    feature("nx", word::EXTENDED_EDX, 20, Level::Base),
    feature("rdtscp", word::EXTENDED_EDX, 27, Level::V2),
    feature("lm", word::EXTENDED_EDX, 29, Level::Base),
    feature("kvmclock", word::KVM, 3, Level::Base),
    feature("kvmclock_stable", word::KVM, 24, Level::Base),
    feature("kvm_nopiodelay", word::KVM, 1, Level::Base),
    feature("kvm_steal_time", word::KVM, 5, Level::Base),
    feature("kvm_pv_eoi", word::KVM, 6, Level::Base),
    feature("kvm_pv_unhalt", word::KVM, 7, Level::Base),
    feature("kvm_pv_tlb_flush", word::KVM, 9, Level::Base),
    feature("kvm_pv_ipi", word::KVM, 11, Level::Base),
    feature("kvm_poll_control", word::KVM, 12, Level::Base),
    feature("kvm_pv_sched_yield", word::KVM, 13, Level::Base),
];

/// Whether KVM itself provides the feature: then a model has it where KVM does.
fn is_of_kvm(feature: &Feature) -> bool {
    feature.word == word::KVM
        || matches!(
            feature.name,
            "hypervisor" | "x2apic" | "tsc_deadline_timer" | "tsc_adjust"
        )
}

/// The bits of `word` that a model has.
pub(super) fn of_model(model: CpuModel, word: Word) -> u32 {
    let level = match model {
        CpuModel::Host => return u32::MAX,
        CpuModel::V2 => Level::V2,
        CpuModel::V3 => Level::V3,
    };
    (FEATURES.iter())
        .filter(|feature| feature.word == word && feature.level <= level)
        .fold(0, |bits, feature| bits | 1 << feature.bit)
}

/// What `has` would have to have for the model, and does not.
pub(super) fn missing_for(model: CpuModel, has: &Leaves) -> Vec<&'static str> {
    (FEATURES.iter())
        .filter(|feature| model != CpuModel::Host && !is_of_kvm(feature))
        .filter(|feature| of_model(model, feature.word) & 1 << feature.bit != 0)
        .filter(|feature| has.get(feature.word) & 1 << feature.bit == 0)
        .map(|feature| feature.name)
        .collect()
}

/// What a bit of CPUID is called.
pub(super) fn name_of(word: Word, bit: u32) -> String {
    let known = FEATURES
        .iter()
        .find(|feature| feature.word == word && feature.bit == bit);
    known.map_or_else(
        || {
            let Word(leaf, subleaf, register) = word;
            let register = format!("{register:?}").to_lowercase();
            format!("CPUID {leaf:#x}.{subleaf}:{register} bit {bit}")
        },
        |feature| feature.name.to_owned(),
    )
}
