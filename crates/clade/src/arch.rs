//! Architectures of guests, by the names that people give them.

use clade_images::Architecture;
use clade_vmm::spec::EngineKind;

/// As `--arch` has it.
pub(crate) fn name(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::Riscv64 => "riscv64",
        Architecture::Amd64 => "x86-64",
    }
}

/// What an engine's guests are.
pub(crate) fn of_engine(engine: EngineKind) -> Architecture {
    match engine {
        EngineKind::Emulate => Architecture::Riscv64,
        EngineKind::Kvm => Architecture::Amd64,
    }
}

/// The engine that runs such guests.
pub(crate) fn engine_of(architecture: Architecture) -> EngineKind {
    match architecture {
        Architecture::Riscv64 => EngineKind::Emulate,
        Architecture::Amd64 => EngineKind::Kvm,
    }
}
