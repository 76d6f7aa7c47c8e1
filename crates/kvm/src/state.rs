//! A vCPU as a plain value.

use clade_engine::{Arch, EngineError, VcpuState};
use kvm_bindings::{
    kvm_cpuid_entry2, kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_regs, kvm_sregs,
    kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::VcpuFd;
use serde::{Deserialize, Serialize};

use crate::clock::StoppedTsc;
use crate::cpu::{Leaves, MAX_LEAVES};
use crate::engine::refused;
use crate::msr::{self, Msr, TSC, TSC_DEADLINE};

const VERSION: u32 = 1;

/// A saved vCPU has no more registers than this.
const MSRS_MAX: usize = 1024;

/// Clocks that differ by no more than this are the same: 250 parts in a million, as NTP assumes.
const TSC_TOLERANCE: (u64, u64) = (250, 1_000_000);

/// Everything of a vCPU that its guest can observe, and the layout of `VcpuState::registers`. KVM's
/// structs are those of Linux's stable interface.
#[derive(Serialize, Deserialize)]
pub(crate) struct SavedVcpu {
    /// Which vCPU of its machine it is.
    index: u32,
    pub(crate) cpuid: Vec<kvm_cpuid_entry2>,
    tsc_khz: u32,
    mp_state: kvm_mp_state,
    regs: kvm_regs,
    sregs: kvm_sregs,
    xsave: kvm_xsave,
    xcrs: kvm_xcrs,
    debug_registers: kvm_debugregs,
    lapic: kvm_lapic_state,
    /// Without those of time.
    msrs: Vec<Msr>,
    tsc: StoppedTsc,
    events: kvm_vcpu_events,
}

impl SavedVcpu {
    /// Reads the state of a vCPU that is between two instructions.
    pub(crate) fn read(
        fd: &VcpuFd,
        index: u32,
        cpuid: &Leaves,
        msr_list: &[u32],
        stopped: Option<StoppedTsc>,
    ) -> Result<Self, EngineError> {
        // First: it lets the APIC accept INIT and SIPI, which changes the rest.
        let mp_state = fd.get_mp_state().map_err(refused("a vCPU's activity"))?;
        let mut msrs = msr::read(fd, msr_list)?;
        msrs.retain(|msr| !matches!(msr.0, TSC | TSC_DEADLINE));
        Ok(Self {
            index,
            cpuid: cpuid.0.clone(),
            tsc_khz: fd.get_tsc_khz().map_err(refused("a vCPU's clock rate"))?,
            mp_state,
            regs: fd.get_regs().map_err(refused("a vCPU's registers"))?,
            sregs: fd
                .get_sregs()
                .map_err(refused("a vCPU's system registers"))?,
            xsave: fd
                .get_xsave()
                .map_err(refused("a vCPU's vector registers"))?,
            xcrs: fd.get_xcrs().map_err(refused("a vCPU's XCR0"))?,
            debug_registers: (fd.get_debug_regs()).map_err(refused("a vCPU's debug registers"))?,
            lapic: fd.get_lapic().map_err(refused("a vCPU's local APIC"))?,
            msrs,
            tsc: match stopped {
                Some(stopped) => stopped,
                None => StoppedTsc::read(fd)?,
            },
            events: (fd.get_vcpu_events()).map_err(refused("a vCPU's pending events"))?,
        })
    }

    /// Puts a vCPU into this state, in the order that KVM wants: each may look at what was set
    /// before. Returns the time that it is to go on from.
    pub(crate) fn write(&self, fd: &VcpuFd) -> Result<StoppedTsc, EngineError> {
        let cpuid = Leaves(self.cpuid.clone()).to_kvm()?;
        fd.set_cpuid2(&cpuid)
            .map_err(refused("to give a vCPU its features"))?;
        self.set_rate(fd)?;
        fd.set_mp_state(self.mp_state)
            .map_err(refused("to set a vCPU's activity"))?;
        fd.set_regs(&self.regs)
            .map_err(refused("to set a vCPU's registers"))?;
        // APIC_BASE, of which the local APIC's registers depend, is one of these.
        fd.set_sregs(&self.sregs)
            .map_err(refused("to set a vCPU's system registers"))?;
        // SAFETY: the struct is as large as what KVM reads: no state components beyond it were ever
        // permitted to this process (`ARCH_REQ_XCOMP_GUEST_PERM`).
        unsafe { fd.set_xsave(&self.xsave) }
            .map_err(refused("to set a vCPU's vector registers"))?;
        fd.set_xcrs(&self.xcrs)
            .map_err(refused("to set a vCPU's XCR0"))?;
        fd.set_debug_regs(&self.debug_registers)
            .map_err(refused("to set a vCPU's debug registers"))?;
        fd.set_lapic(&self.lapic)
            .map_err(refused("to set a vCPU's local APIC"))?;
        // After the local APIC, whose timer's mode says whether a deadline counts.
        msr::write(fd, &self.msrs)?;
        self.tsc.write(fd)?;
        fd.set_vcpu_events(&self.events)
            .map_err(refused("to set a vCPU's pending events"))?;
        Ok(self.tsc)
    }

    /// Makes the clock of a vCPU from another host run at the rate that its guest measured.
    fn set_rate(&self, fd: &VcpuFd) -> Result<(), EngineError> {
        let here = u64::from(fd.get_tsc_khz().map_err(refused("a vCPU's clock rate"))?);
        let saved = u64::from(self.tsc_khz);
        let (parts, of) = TSC_TOLERANCE;
        if here.abs_diff(saved) * of <= here * parts {
            return Ok(());
        }
        fd.set_tsc_khz(self.tsc_khz).map_err(|_| {
            EngineError::State(format!(
                "its clock runs at {saved} kHz, this host's processor's at {here} kHz, and this one \
                 cannot scale it\nRestore it on a host like the one that it is from."
            ))
        })
    }

    /// As the engine contract has it.
    pub(crate) fn pack(&self) -> Result<VcpuState, EngineError> {
        Ok(VcpuState {
            arch: Arch::X86_64,
            version: VERSION,
            registers: serde_json::to_vec(self).map_err(|e| EngineError::State(e.to_string()))?,
        })
    }

    /// Reads what [`SavedVcpu::pack`] made of vCPU `index`; it may come from anywhere.
    pub(crate) fn unpack(state: &VcpuState, index: u32) -> Result<Self, EngineError> {
        let refuse = |reason: String| Err(EngineError::State(reason));
        if (state.arch, state.version) != (Arch::X86_64, VERSION) {
            return refuse(format!(
                "it is version {} for {:?}, and this engine takes version {VERSION} for {:?}",
                state.version,
                state.arch,
                Arch::X86_64
            ));
        }
        let saved: Self = serde_json::from_slice(&state.registers)
            .map_err(|error| EngineError::State(error.to_string()))?;
        if saved.index != index {
            return refuse(format!(
                "it is that of vCPU {}, and this is vCPU {index}",
                saved.index
            ));
        }
        if saved.cpuid.len() > MAX_LEAVES || saved.msrs.len() > MSRS_MAX {
            return refuse("it has more registers than a vCPU can have".into());
        }
        Ok(saved)
    }
}
