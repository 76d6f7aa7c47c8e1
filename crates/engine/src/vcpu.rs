//! Engines and their virtual CPUs.

use std::fs::File;
use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{DirtyPages, Doorbells};

/// A guest instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// 64-bit RISC-V.
    Riscv64,
    /// 64-bit x86.
    X86_64,
}

/// Runs the virtual CPUs of one machine.
pub trait Engine: Send + Sync {
    /// The name by which users choose this engine: `emulate`, `kvm`.
    fn name(&self) -> &'static str;

    /// The instruction set of its guests.
    fn arch(&self) -> Arch;

    /// Makes vCPU `index`, in the state in which the machine starts. Each index is made once.
    ///
    /// # Errors
    /// When the index is beyond the machine's vCPUs or was made before, or the host refuses.
    fn create_vcpu(&self, index: u32) -> Result<Box<dyn Vcpu>, EngineError>;

    /// Returns the pages of guest memory that were written (by vCPUs or devices) since the
    /// previous call, and starts the next interval. May be called while vCPUs run. Whoever reads
    /// a returned page's contents afterwards sees every write of the interval.
    ///
    /// # Errors
    /// When the host refuses.
    fn take_dirty_pages(&self) -> Result<DirtyPages, EngineError>;

    /// Takes stores of the guest's that only wake a thread, if the engine gains by it.
    fn doorbells(&self) -> Option<Arc<dyn Doorbells>> {
        None
    }

    /// Writes what the engine has made of the guest's code to `file`, which is empty, so that another process
    /// of the same executable that goes on with the same memory need not make it again. No part of the
    /// guest's state. May be called while vCPUs run. Returns whether anything was written: not if there
    /// is little that was not written, or had from another process, before. That counts for nothing
    /// if it is wanted `anyway`.
    ///
    /// # Errors
    /// The file cannot be written. What is in it then is of no use, and does no harm.
    fn save_code_cache(&self, file: &File, anyway: bool) -> io::Result<bool> {
        let _ = (file, anyway);
        Ok(false)
    }
}

/// One virtual CPU. It belongs to the thread that runs it.
pub trait Vcpu: Send {
    /// Executes guest instructions until something happens that the machine's owner must act on.
    /// A vCPU that idles (WFI, HLT) sleeps inside.
    ///
    /// # Errors
    /// When the engine cannot go on; the guest's own faults are never errors.
    fn run(&mut self) -> Result<Exit, EngineError>;

    /// A handle by which other threads interrupt [`Vcpu::run`].
    fn handle(&self) -> Arc<dyn VcpuHandle>;

    /// Everything of this vCPU that the guest can observe. Call it between runs.
    ///
    /// # Errors
    /// When the host refuses.
    fn save(&self) -> Result<VcpuState, EngineError>;

    /// Puts the vCPU into a saved state.
    ///
    /// # Errors
    /// [`EngineError::State`] when the state is of another architecture or version, or is not
    /// well-formed. The vCPU is then unchanged.
    fn restore(&mut self, state: &VcpuState) -> Result<(), EngineError>;
}

/// Reaches a vCPU from other threads.
pub trait VcpuHandle: Send + Sync {
    /// Makes the current (or else the next) [`Vcpu::run`] return [`Exit::Kicked`] soon.
    fn kick(&self);
}

/// Why a vCPU stopped running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Somebody called [`VcpuHandle::kick`].
    Kicked,
    /// The guest asked something of the machine as a whole.
    System(SystemEvent),
}

/// What a guest can ask of its machine as a whole, by firmware call or device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SystemEvent {
    /// Switch off.
    PowerOff,
    /// Switch off and report failure, with the guest's code.
    Fail(u32),
    /// Start again from the beginning.
    Reboot,
}

/// The saved state of one vCPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VcpuState {
    /// Whose registers these are.
    pub arch: Arch,
    /// The version of the layout of `registers`.
    pub version: u32,
    /// The engine's own plain state struct, serialised.
    pub registers: Vec<u8>,
}

/// Why an engine could not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No such vCPU, or one that exists already.
    #[error("vCPU {index} cannot be made: {reason}")]
    Vcpu {
        /// The index asked for.
        index: u32,
        /// Why not.
        reason: &'static str,
    },
    /// A machine that this host cannot run.
    #[error("this machine cannot run here: {0}")]
    Unsupported(String),
    /// A saved state that this engine cannot take.
    #[error("the saved vCPU state cannot be used: {0}")]
    State(String),
    /// A vCPU that its processor, real or emulated, refuses to run on.
    #[error("vCPU {index} cannot go on: {reason}")]
    Stopped {
        /// Which vCPU.
        index: u32,
        /// What happened, and where.
        reason: String,
    },
    /// The host refused something.
    #[error("the host refused {what}: {source}")]
    Host {
        /// What was asked of the host.
        what: &'static str,
        /// What it answered.
        source: std::io::Error,
    },
}
