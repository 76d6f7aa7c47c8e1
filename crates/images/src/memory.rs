//! How much memory a guest of an image needs.

use crate::Architecture;

/// What each CPU beyond the first takes in the kernel.
const PER_CPU: u64 = 1 << 20;

/// Sizes are told in steps of this.
const STEP: u64 = 8 << 20;

/// The least memory in which a guest of an image gets ready; with less, its kernel fails at something that
/// nobody would put down to memory, or it swaps its programs in for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeastMemory {
    /// Bytes, with one CPU.
    bytes: u64,
}

impl LeastMemory {
    /// `initrd` is the size of the uncompressed initramfs, `system` what the programs need that run until
    /// the guest is ready, both in bytes.
    pub(crate) fn new(architecture: Architecture, initrd: u64, system: u64) -> Self {
        // The kernel unpacks the initramfs while it still has the archive, into a file system that may
        // take half of what is free then.
        let unpacking = initrd.saturating_mul(3);
        Self {
            bytes: kernel(architecture).saturating_add(unpacking.max(system)),
        }
    }

    /// Bytes that a machine with so many CPUs needs.
    pub fn with_cpus(self, cpus: u32) -> u64 {
        let more = u64::from(cpus.saturating_sub(1)) * PER_CPU;
        let steps = self.bytes.saturating_add(more).div_ceil(STEP);
        steps.saturating_mul(STEP)
    }
}

/// What Debian's kernel takes before its first program, in bytes, as measured with 6.12.
fn kernel(architecture: Architecture) -> u64 {
    match architecture {
        Architecture::Riscv64 => 74 << 20,
        Architecture::Amd64 => 56 << 20,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_large_initramfs_and_a_large_system_both_count_and_so_do_cpus() {
        let least = |initrd, system| LeastMemory::new(Architecture::Riscv64, initrd, system);
        assert_eq!(least(0, 0).with_cpus(1), 80 * MIB);
        assert_eq!(least(22 * MIB, 0).with_cpus(1), 144 * MIB);
        assert_eq!(least(10 * MIB, 54 * MIB).with_cpus(1), 128 * MIB);
        assert_eq!(least(22 * MIB, 0).with_cpus(8), 152 * MIB);
        assert!(least(u64::MAX, 0).with_cpus(u32::MAX) > u64::MAX / 2);
    }
}
