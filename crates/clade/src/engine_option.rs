//! `--engine` and `--arch`: who runs the machine, and what for.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use clade_images::Architecture;
use clade_vmm::spec::{CpuModel, EngineKind};

use crate::failure::Failure;
use crate::{arch, choice, kvm_verdict};

/// The engine that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Auto,
    Kvm,
    Emulate,
}

impl Wanted {
    const ALL: [Self; 3] = [Self::Auto, Self::Kvm, Self::Emulate];

    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kvm => "kvm",
            Self::Emulate => "emulate",
        }
    }
}

/// An option that only the emulator knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Emulated {
    pub(crate) option: &'static str,
    /// What to do on KVM.
    pub(crate) remedy: &'static str,
}

impl Emulated {
    pub(crate) const fn option(option: &'static str) -> Self {
        Self {
            option,
            remedy: "leave it out",
        }
    }
}

/// Whose kernel the file is, as far as its first bytes say; riscv64's if they say nothing.
fn of_kernel(path: &Path) -> Architecture {
    const ELF_X86_64: &[u8] = &[62, 0];
    let start = first_bytes(path).unwrap_or_default();
    let is = |at: usize, bytes: &[u8]| start.get(at..).is_some_and(|rest| rest.starts_with(bytes));
    match is(0x202, b"HdrS") || is(0, b"\x7fELF") && is(18, ELF_X86_64) {
        true => Architecture::Amd64,
        false => Architecture::Riscv64,
    }
}

fn first_bytes(path: &Path) -> Option<Vec<u8>> {
    let mut start = vec![0; 0x206];
    // A pipe is read only once, and not here.
    let file = path.is_file().then(|| File::open(path).ok()).flatten()?;
    let length = file.read_at(&mut start, 0).ok()?;
    start.truncate(length);
    Some(start)
}

/// Who runs the machine, and what for.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct EngineChoice {
    /// What runs the machine: `kvm` this host's processor (x86-64 guests), `emulate` software (riscv64
    /// guests, on every host). `auto` goes by --arch or the kernel, else takes KVM where it is real.
    #[arg(long, env = "CLADE_ENGINE", default_value = Wanted::Auto.name(), value_parser = choice::parser(Wanted::ALL, Wanted::name))]
    engine: Wanted,
    /// The guest's architecture; each has its engine.
    #[arg(long, value_parser = choice::parser(Architecture::ALL, arch::name))]
    arch: Option<Architecture>,
}

/// The options.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct EngineOptions {
    #[command(flatten)]
    choice: EngineChoice,
    /// What the processors of a machine on KVM can do: all that this host's can, or a level that others
    /// have, too, so that snapshots can go there.
    #[arg(long, value_name = "MODEL", value_parser = choice::parser(CpuModel::ALL, CpuModel::name))]
    cpu_model: Option<CpuModel>,
}

impl EngineOptions {
    /// The engine and CPU model for a machine, which boots `kernel` if that is one's own. `emulated` is
    /// an option that was given and that only the emulator knows.
    pub(crate) fn choose(
        &self,
        kernel: Option<&Path>,
        emulated: Option<Emulated>,
    ) -> Result<(EngineKind, CpuModel), Failure> {
        let engine = self.choice.engine(kernel, emulated.is_some())?;
        if let (EngineKind::Kvm, Some(Emulated { option, remedy })) = (engine, emulated) {
            return Err(Failure::new(format!(
                "{option} is for the emulator's riscv64 machines, not for x86-64 ones on KVM; {remedy}, \
                 or use --engine emulate"
            )));
        }
        if engine == EngineKind::Emulate && self.cpu_model.is_some() {
            return Err(Failure::new(
                "--cpu-model is for machines on KVM; the emulator has one processor only",
            ));
        }
        Ok((engine, self.cpu_model.unwrap_or_default()))
    }
}

impl EngineChoice {
    /// What a machine of an image would be that is made with these options.
    pub(crate) fn architecture(&self) -> Result<Architecture, Failure> {
        match self.arch {
            Some(arch) => Ok(arch),
            None => self.engine(None, false).map(arch::of_engine),
        }
    }

    fn engine(&self, kernel: Option<&Path>, emulated: bool) -> Result<EngineKind, Failure> {
        let arch = self.arch.or_else(|| match (self.engine, kernel) {
            (Wanted::Auto, Some(kernel)) => Some(of_kernel(kernel)),
            (Wanted::Auto, None) if !emulated && kvm_verdict::is_real() => {
                Some(Architecture::Amd64)
            }
            _ => None,
        });
        match (self.engine, arch) {
            (Wanted::Kvm, None | Some(Architecture::Amd64))
            | (Wanted::Auto, Some(Architecture::Amd64)) => Ok(EngineKind::Kvm),
            (Wanted::Emulate, None | Some(Architecture::Riscv64))
            | (Wanted::Auto, None | Some(Architecture::Riscv64)) => Ok(EngineKind::Emulate),
            (Wanted::Kvm, Some(Architecture::Riscv64)) => Err(Failure::new(
                "KVM runs guests of this host's own kind, x86-64; for riscv64 use --engine emulate",
            )),
            (Wanted::Emulate, Some(Architecture::Amd64)) => Err(Failure::new(
                "the emulator runs riscv64 guests only; for x86-64 use --engine kvm",
            )),
        }
    }
}
