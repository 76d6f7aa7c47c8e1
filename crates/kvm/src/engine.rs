//! A machine's engine.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use clade_engine::{
    Arch, DirtyPages, Engine, EngineError, GuestRam, IoBus, IrqLine, MsiSink, Vcpu, harvest_dirty,
};
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::VmFd;

use crate::device::Device;
use crate::interrupts::{Messages, Wire};
use crate::kick;
use crate::memory::Memory;
use crate::start::Start;
use crate::vcpu::{KvmVcpu, Shared};

/// Number of inputs of the I/O APIC.
const WIRES: u32 = 24;

/// Where KVM may use four pages of guest physical addresses for itself; no device and no memory is to
/// be at 0xfeffc000 to 0xfeffffff. Older Intel processors need them for real mode.
const IDENTITY_MAP: u64 = 0xfeff_c000;
const TASK_STATE: usize = 0xfeff_d000;

/// What a machine on KVM is made of.
pub struct KvmConfig {
    /// Number of vCPUs, at least 1.
    pub cpus: u32,
    /// The guest's memory.
    pub ram: Arc<GuestRam>,
    /// What answers outside of memory.
    pub memory: Arc<dyn IoBus>,
    /// What answers at I/O ports.
    pub ports: Arc<dyn IoBus>,
    /// How the first vCPU begins.
    pub start: Start,
}

/// What vCPUs, interrupt wires and the engine share.
pub(crate) struct Machine {
    // Before the memory: KVM has its addresses.
    pub(crate) vm: VmFd,
    pub(crate) memory: Memory,
    pub(crate) mmio: Arc<dyn IoBus>,
    pub(crate) ports: Arc<dyn IoBus>,
}

/// Runs the vCPUs of one machine by KVM.
pub struct Kvm {
    machine: Arc<Machine>,
    cpus: u32,
    start: Start,
    cpuid: CpuId,
    vcpus: Mutex<Vec<(u32, Arc<Shared>)>>,
}

impl Kvm {
    /// Makes a virtual machine. Nothing runs yet.
    ///
    /// # Errors
    /// When the machine has more vCPUs or pieces of memory than this host allows, or the host refuses.
    pub fn new(device: &Device, config: KvmConfig) -> Result<Self, EngineError> {
        let KvmConfig {
            cpus,
            ram,
            memory,
            ports,
            start,
        } = config;
        kick::prepare().map_err(|source| EngineError::Host {
            what: "a signal handler",
            source,
        })?;
        let cpuid = (device.kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES))
            .map_err(refused("to tell what its processor can do"))?;
        let vm = device
            .kvm
            .create_vm()
            .map_err(refused("a virtual machine"))?;
        vm.set_identity_map_address(IDENTITY_MAP)
            .map_err(refused("a page for real mode"))?;
        vm.set_tss_address(TASK_STATE)
            .map_err(refused("pages for real mode"))?;
        vm.create_irq_chip()
            .map_err(refused("interrupt controllers"))?;
        let memory_of_guest = Memory::give(&vm, ram)?;
        Ok(Self {
            machine: Arc::new(Machine {
                vm,
                memory: memory_of_guest,
                mmio: memory,
                ports,
            }),
            cpus,
            start,
            cpuid,
            vcpus: Mutex::default(),
        })
    }

    /// The wire into input `gsi` (0 to 23) of the I/O APIC, or `None` when there is no such input.
    pub fn irq_line(&self, gsi: u32) -> Option<Arc<dyn IrqLine>> {
        let machine = self.machine.clone();
        (gsi < WIRES).then(|| Arc::new(Wire { machine, gsi }) as Arc<dyn IrqLine>)
    }

    /// Where devices write their message-signalled interrupts.
    pub fn msi(&self) -> Arc<dyn MsiSink> {
        Arc::new(Messages(self.machine.clone()))
    }
}

impl Engine for Kvm {
    fn name(&self) -> &'static str {
        "kvm"
    }

    fn arch(&self) -> Arch {
        Arch::X86_64
    }

    fn create_vcpu(&self, index: u32) -> Result<Box<dyn Vcpu>, EngineError> {
        let refuse = |reason| EngineError::Vcpu { index, reason };
        if index >= self.cpus {
            return Err(refuse("the machine has fewer"));
        }
        let mut vcpus = self.vcpus.lock().unwrap_or_else(PoisonError::into_inner);
        if vcpus.iter().any(|(made, _)| *made == index) {
            return Err(refuse("it exists already"));
        }
        let start = (index == 0).then_some(&self.start);
        let vcpu = KvmVcpu::create(index, self.machine.clone(), &self.cpuid, start)?;
        vcpus.push((index, vcpu.shared()));
        Ok(Box::new(vcpu))
    }

    fn take_dirty_pages(&self) -> Result<DirtyPages, EngineError> {
        Ok(harvest_dirty(&self.machine.memory.ram))
    }
}

/// Turns KVM's answer into an error: the host refused `what`.
pub(crate) fn refused(what: &'static str) -> impl Fn(vmm_sys_util::errno::Error) -> EngineError {
    move |error| EngineError::Host {
        what,
        source: io::Error::from(error),
    }
}
