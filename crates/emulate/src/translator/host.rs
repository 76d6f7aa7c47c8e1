//! What the translator needs of its host.

use clade_engine::PAGE_SIZE;

use super::code_memory::CodeMemory;

/// What the host lacks, by names for people; empty when the translator can be used.
pub(crate) fn lacks() -> Vec<&'static str> {
    let mut lacks = lacking_features();
    if CodeMemory::new(PAGE_SIZE as usize, None).is_err() {
        lacks.push("memory to execute (mprotect with PROT_EXEC)");
    }
    lacks
}

/// What the processor and its kernel lack.
pub(super) fn lacking_features() -> Vec<&'static str> {
    [
        ("BMI1", is_x86_feature_detected!("bmi1")),
        ("BMI2", is_x86_feature_detected!("bmi2")),
        ("LZCNT", is_x86_feature_detected!("lzcnt")),
        ("POPCNT", is_x86_feature_detected!("popcnt")),
        ("SSE4.1", is_x86_feature_detected!("sse4.1")),
        ("AVX", is_x86_feature_detected!("avx")),
        ("FMA", is_x86_feature_detected!("fma")),
        ("FSGSBASE (Linux 5.9 or later)", can_write_gs_base()),
    ]
    .into_iter()
    .filter(|&(_, there)| !there)
    .map(|(name, _)| name)
    .collect()
}

/// Whether programs may set the base of segment `gs` themselves (Linux 5.9 and later).
fn can_write_gs_base() -> bool {
    const HWCAP2_FSGSBASE: usize = 1 << 1;
    rustix::param::linux_hwcap().1 & HWCAP2_FSGSBASE != 0
}
