//! The leaves of the CPUID instruction as a table.

use clade_engine::EngineError;
use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, kvm_cpuid_entry2};

/// KVM takes no more leaves than this.
pub(crate) const MAX_LEAVES: usize = kvm_bindings::KVM_MAX_CPUID_ENTRIES;

/// One of the four words of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Register {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

/// A word of CPUID: a leaf, a subleaf, a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u32, pub(crate) u32, pub(crate) Register);

/// All leaves of a vCPU.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Leaves(pub(crate) Vec<kvm_cpuid_entry2>);

impl Leaves {
    pub(crate) fn find(&self, leaf: u32, subleaf: u32) -> Option<&kvm_cpuid_entry2> {
        self.0.iter().find(|entry| is(entry, leaf, subleaf))
    }

    /// The leaf, which is added if it is not there.
    pub(crate) fn entry(
        &mut self,
        leaf: u32,
        subleaf: u32,
        indexed: bool,
    ) -> &mut kvm_cpuid_entry2 {
        let found = self.0.iter().position(|entry| is(entry, leaf, subleaf));
        let at = found.unwrap_or_else(|| {
            self.0.push(kvm_cpuid_entry2 {
                function: leaf,
                index: subleaf,
                flags: if indexed {
                    KVM_CPUID_FLAG_SIGNIFCANT_INDEX
                } else {
                    0
                },
                ..kvm_cpuid_entry2::default()
            });
            self.0.len() - 1
        });
        &mut self.0[at]
    }

    /// A word; zero if there is no such leaf, which is what the guest would see.
    pub(crate) fn get(&self, Word(leaf, subleaf, register): Word) -> u32 {
        self.find(leaf, subleaf).map_or(0, |entry| match register {
            Register::Eax => entry.eax,
            Register::Ebx => entry.ebx,
            Register::Ecx => entry.ecx,
            Register::Edx => entry.edx,
        })
    }

    /// Changes a word of a leaf that is there.
    pub(crate) fn change(
        &mut self,
        Word(leaf, subleaf, register): Word,
        change: impl FnOnce(u32) -> u32,
    ) {
        let found = self.0.iter_mut().find(|entry| is(entry, leaf, subleaf));
        let Some(entry) = found else { return };
        let word = match register {
            Register::Eax => &mut entry.eax,
            Register::Ebx => &mut entry.ebx,
            Register::Ecx => &mut entry.ecx,
            Register::Edx => &mut entry.edx,
        };
        *word = change(*word);
    }

    /// Takes away a leaf with all its subleaves.
    pub(crate) fn remove(&mut self, leaf: u32) {
        self.0.retain(|entry| entry.function != leaf);
    }

    /// As KVM takes it.
    pub(crate) fn to_kvm(&self) -> Result<CpuId, EngineError> {
        CpuId::from_entries(&self.0)
            .map_err(|_| EngineError::State("it has more CPUID leaves than KVM takes".into()))
    }
}

fn is(entry: &kvm_cpuid_entry2, leaf: u32, subleaf: u32) -> bool {
    let indexed = entry.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX != 0;
    entry.function == leaf && (!indexed || entry.index == subleaf)
}
