//! What the guests run on.

use clade_images::{Architecture, Source};
use clade_vmm::spec::EngineKind;

/// The machine that both peers make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Board {
    /// RISC-V, emulated.
    #[default]
    Emulated,
    /// x86-64, on the host's KVM.
    Kvm,
}

impl Board {
    pub(crate) fn architecture(self) -> Architecture {
        match self {
            Self::Emulated => Architecture::Riscv64,
            Self::Kvm => Architecture::Amd64,
        }
    }

    /// Where packages for its guests come from.
    pub(crate) fn source(self) -> Source {
        Source {
            architecture: self.architecture(),
            ..Source::default()
        }
    }

    /// Where programs of its guests look for their loader, and where in `usr/lib` that is.
    pub(crate) fn loader(self) -> (&'static str, &'static str) {
        match self {
            Self::Emulated => (
                "lib/ld-linux-riscv64-lp64d.so.1",
                "ld-linux-riscv64-lp64d.so.1",
            ),
            Self::Kvm => (
                "lib64/ld-linux-x86-64.so.2",
                "x86_64-linux-gnu/ld-linux-x86-64.so.2",
            ),
        }
    }

    pub(crate) fn engine(self) -> EngineKind {
        match self {
            Self::Emulated => EngineKind::Emulate,
            Self::Kvm => EngineKind::Kvm,
        }
    }

    /// By what `clade run` is told of it.
    pub(crate) fn options(self) -> [&'static str; 2] {
        match self {
            Self::Emulated => ["--engine", "emulate"],
            Self::Kvm => ["--engine", "kvm"],
        }
    }

    /// The program that is QEMU for it.
    pub(crate) fn qemu(self) -> &'static str {
        match self {
            Self::Emulated => "qemu-system-riscv64",
            Self::Kvm => "qemu-system-x86_64",
        }
    }

    /// By what QEMU is told of it.
    pub(crate) fn qemu_options(self) -> &'static [&'static str] {
        match self {
            Self::Emulated => &["-machine", "virt", "-accel", "tcg,thread=multi"],
            Self::Kvm => &["-machine", "q35", "-accel", "kvm", "-cpu", "host"],
        }
    }

    /// How QEMU calls what runs its guests.
    pub(crate) fn accelerator(self) -> &'static str {
        match self {
            Self::Emulated => "TCG",
            Self::Kvm => "KVM",
        }
    }
}
