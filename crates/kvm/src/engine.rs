//! A machine's engine.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clade_engine::{
    Arch, CpuModel, DirtyPages, Doorbells, Engine, EngineError, GuestRam, IoBus, IrqLine, MsiSink,
    Vcpu,
};
use kvm_bindings::{KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE, kvm_enable_cap};
use kvm_ioctls::VmFd;

use crate::chips::ChipsState;
use crate::clock;
use crate::cpu::Cpuid;
use crate::device::Device;
use crate::dirty::{DirtyLog, PageMap};
use crate::doorbells::IoEvents;
use crate::interrupts::{Messages, Wire};
use crate::kick;
use crate::memory::Memory;
use crate::msr;
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
    /// The processor that the guest is told of.
    pub cpu: CpuModel,
    /// How the first vCPU begins.
    pub start: Start,
}

/// Most vCPUs of a machine: IDs of local APICs have 8 bits, and 255 stands for all of them.
pub const CPUS_MAX: u32 = 255;

/// A virtual machine of KVM's. Devices hold it to interrupt its vCPUs, so it holds none: else neither
/// would ever go.
pub(crate) struct Vm {
    // Before the memory: KVM has its addresses.
    pub(crate) fd: VmFd,
    pub(crate) memory: Memory,
}

/// What vCPUs and the engine share.
pub(crate) struct Machine {
    pub(crate) vm: Arc<Vm>,
    pub(crate) mmio: Arc<dyn IoBus>,
    pub(crate) ports: Arc<dyn IoBus>,
    pub(crate) cpuid: Cpuid,
    /// The model-specific registers that are part of a vCPU's state.
    pub(crate) msrs: Vec<u32>,
}

/// Runs the vCPUs of one machine by KVM.
pub struct Kvm {
    machine: Arc<Machine>,
    cpus: u32,
    start: Start,
    vcpus: Mutex<Vec<(u32, Arc<Shared>)>>,
    /// What the clock shows while it stands still.
    stopped_clock: Mutex<Option<u64>>,
    dirty_log: Mutex<DirtyLog>,
    page_map: Option<Arc<PageMap>>,
    /// Whether KVM can answer stores of any width by an eventfd.
    doorbells: bool,
}

impl Kvm {
    /// Makes a virtual machine. Nothing runs yet.
    ///
    /// # Errors
    /// When this host cannot have so many vCPUs or such ones, or refuses.
    pub fn new(device: &Device, config: KvmConfig) -> Result<Self, EngineError> {
        check_cpus(device, config.cpus)?;
        kick::prepare().map_err(|source| EngineError::Host {
            what: "a signal handler",
            source,
        })?;
        let cpuid = Cpuid::new(device, config.cpu, config.cpus)?;
        let fd = virtual_machine(device)?;
        let memory = Memory::give(&fd, config.ram)?;
        Ok(Self {
            machine: Arc::new(Machine {
                vm: Arc::new(Vm { fd, memory }),
                mmio: config.memory,
                ports: config.ports,
                cpuid,
                msrs: msr::list(device)?,
            }),
            cpus: config.cpus,
            start: config.start,
            vcpus: Mutex::default(),
            stopped_clock: Mutex::default(),
            dirty_log: Mutex::default(),
            page_map: device.page_map.clone(),
            doorbells: device.has_doorbells(),
        })
    }

    /// The wire into input `gsi` (0 to 23) of the I/O APIC, or `None` when there is no such input.
    pub fn irq_line(&self, gsi: u32) -> Option<Arc<dyn IrqLine>> {
        let vm = self.machine.vm.clone();
        (gsi < WIRES).then(|| Arc::new(Wire { vm, gsi }) as Arc<dyn IrqLine>)
    }

    /// Where devices write their message-signalled interrupts.
    pub fn msi(&self) -> Arc<dyn MsiSink> {
        Arc::new(Messages(self.machine.vm.clone()))
    }

    /// The state of what vCPUs share. Wants a machine at rest.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn save_chips(&self) -> Result<ChipsState, EngineError> {
        let clock_ns = match *lock(&self.stopped_clock) {
            Some(stopped) => stopped,
            None => clock::read(&self.machine.vm.fd)?,
        };
        ChipsState::read(&self.machine.vm.fd, clock_ns)
    }

    /// Goes on from a saved state. The clock stands still until [`Kvm::start_clock`].
    ///
    /// # Errors
    /// When the state is not one, or the host refuses.
    pub fn restore_chips(&self, state: &ChipsState) -> Result<(), EngineError> {
        let clock_ns = state.write(&self.machine.vm.fd)?;
        *lock(&self.stopped_clock) = Some(clock_ns);
        Ok(())
    }

    /// Makes the guest's time stand still. Wants a machine at rest, and only matters to one that is
    /// saved or goes on by [`Kvm::start_clock`].
    ///
    /// # Errors
    /// When the host refuses.
    pub fn stop_clock(&self) -> Result<(), EngineError> {
        let mut stopped = lock(&self.stopped_clock);
        if stopped.is_none() {
            for (_, vcpu) in lock(&self.vcpus).iter() {
                vcpu.stop_clock()?;
            }
            *stopped = Some(clock::read(&self.machine.vm.fd)?);
        }
        Ok(())
    }

    /// Lets the guest's time go on from where it was stopped or saved, and tells the guest that it
    /// stood still. A machine that was restored needs this before it runs.
    ///
    /// # Errors
    /// When the host refuses.
    pub fn start_clock(&self) -> Result<(), EngineError> {
        let Some(clock_ns) = lock(&self.stopped_clock).take() else {
            return Ok(());
        };
        let vcpus = lock(&self.vcpus);
        for (position, (_, vcpu)) in vcpus.iter().enumerate() {
            vcpu.start_clock(position == 0)?;
        }
        clock::write(&self.machine.vm.fd, clock_ns)?;
        vcpus.iter().try_for_each(|(_, vcpu)| vcpu.tell_stop())
    }
}

fn check_cpus(device: &Device, cpus: u32) -> Result<(), EngineError> {
    let most = device.vcpus_max().min(CPUS_MAX);
    match cpus {
        0 => Err(EngineError::Unsupported("it has no vCPU".into())),
        _ if cpus > most => Err(EngineError::Unsupported(format!(
            "it has {cpus} vCPUs, and KVM machines have {most} at most here"
        ))),
        _ => Ok(()),
    }
}

/// A virtual machine with interrupt controllers, which must be there before vCPUs are.
fn virtual_machine(device: &Device) -> Result<VmFd, EngineError> {
    let vm = (device.kvm.create_vm()).map_err(refused("a virtual machine"))?;
    vm.set_identity_map_address(IDENTITY_MAP)
        .map_err(refused("a page for real mode"))?;
    vm.set_tss_address(TASK_STATE)
        .map_err(refused("pages for real mode"))?;
    vm.create_irq_chip()
        .map_err(refused("interrupt controllers"))?;
    without_counters(&vm);
    msr::deny(&vm)?;
    Ok(vm)
}

/// Performance counters are not offered to guests, so KVM need not emulate any. Before Linux 5.18 it
/// cannot be told so.
fn without_counters(vm: &VmFd) {
    let capability = kvm_enable_cap {
        cap: KVM_CAP_PMU_CAPABILITY,
        args: [u64::from(KVM_PMU_CAP_DISABLE), 0, 0, 0],
        ..kvm_enable_cap::default()
    };
    let _ = vm.enable_cap(&capability);
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
        let mut vcpus = lock(&self.vcpus);
        if vcpus.iter().any(|(made, _)| *made == index) {
            return Err(refuse("it exists already"));
        }
        let start = (index == 0).then_some(&self.start);
        let vcpu = KvmVcpu::create(index, self.machine.clone(), start)?;
        vcpus.push((index, vcpu.shared()));
        Ok(Box::new(vcpu))
    }

    fn take_dirty_pages(&self) -> Result<DirtyPages, EngineError> {
        let vm = &self.machine.vm;
        lock(&self.dirty_log).take(&vm.fd, &vm.memory, self.page_map.as_deref())
    }

    fn doorbells(&self) -> Option<Arc<dyn Doorbells>> {
        let events = IoEvents(self.machine.vm.clone());
        self.doorbells
            .then(|| Arc::new(events) as Arc<dyn Doorbells>)
    }
}

/// Turns KVM's answer into an error: the host refused `what`.
pub(crate) fn refused(what: &'static str) -> impl Fn(vmm_sys_util::errno::Error) -> EngineError {
    move |error| EngineError::Host {
        what,
        source: io::Error::from(error),
    }
}

pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
