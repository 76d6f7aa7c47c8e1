//! One virtual CPU.

use std::sync::{Arc, Mutex};

use clade_engine::{EngineError, Exit, IoBus, SystemEvent, Vcpu, VcpuHandle, VcpuState};
use kvm_ioctls::{VcpuExit, VcpuFd};

use crate::clock::{self, StoppedTsc};
use crate::cpu::{Leaves, check_host_has};
use crate::engine::{Machine, lock, refused};
use crate::kick::Kick;
use crate::run_page::RunPage;
use crate::start::Start;
use crate::state::SavedVcpu;

/// A vCPU as other threads see it.
pub(crate) struct Shared {
    pub(crate) page: RunPage,
    pub(crate) kick: Kick,
    /// Locked by its thread while it runs.
    fd: Mutex<VcpuFd>,
    /// Its time, while that stands still.
    stopped: Mutex<Option<StoppedTsc>>,
}

/// One virtual CPU behind the contract.
pub(crate) struct KvmVcpu {
    index: u32,
    /// What its guest is told.
    cpuid: Leaves,
    shared: Arc<Shared>,
    machine: Arc<Machine>,
}

impl KvmVcpu {
    pub(crate) fn create(
        index: u32,
        machine: Arc<Machine>,
        start: Option<&Start>,
    ) -> Result<Self, EngineError> {
        let mut fd = (machine.vm.fd.create_vcpu(u64::from(index))).map_err(refused("a vCPU"))?;
        let cpuid = machine.cpuid.of_vcpu(index);
        fd.set_cpuid2(&cpuid.to_kvm()?)
            .map_err(refused("a vCPU with these features"))?;
        if let Some(start) = start {
            let mut regs = fd.get_regs().map_err(refused("a vCPU's registers"))?;
            let mut sregs = fd.get_sregs().map_err(refused("a vCPU's registers"))?;
            start.apply(&mut regs, &mut sregs);
            fd.set_sregs(&sregs)
                .map_err(refused("to set a vCPU's system registers"))?;
            fd.set_regs(&regs)
                .map_err(refused("to set a vCPU's registers"))?;
        }
        Ok(Self {
            index,
            cpuid,
            shared: Arc::new(Shared {
                page: RunPage::of(&mut fd),
                kick: Kick::default(),
                fd: Mutex::new(fd),
                stopped: Mutex::default(),
            }),
            machine,
        })
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Why KVM will not go on, and where in the guest it stopped.
    fn stopped(&self, fd: &VcpuFd, reason: String) -> EngineError {
        let place = match fd.get_regs() {
            Ok(regs) => format!("{reason} (at {:#x})", regs.rip),
            Err(_) => reason,
        };
        EngineError::Stopped {
            index: self.index,
            reason: place,
        }
    }
}

impl Vcpu for KvmVcpu {
    fn run(&mut self) -> Result<Exit, EngineError> {
        let mut fd = lock(&self.shared.fd);
        let _inside = self.shared.kick.enter();
        loop {
            let reason = match fd.run() {
                Ok(VcpuExit::MmioRead(address, data)) => {
                    read(&*self.machine.mmio, address, data);
                    continue;
                }
                Ok(VcpuExit::MmioWrite(address, data)) => {
                    // Nothing there: the write goes nowhere.
                    let _ = self.machine.mmio.write(address, data);
                    continue;
                }
                Ok(VcpuExit::IoIn(port, data)) => {
                    for item in data.chunks_mut(self.shared.page.port_access_size()) {
                        read(&*self.machine.ports, u64::from(port), item);
                    }
                    continue;
                }
                Ok(VcpuExit::IoOut(port, data)) => {
                    for item in data.chunks(self.shared.page.port_access_size()) {
                        let _ = self.machine.ports.write(u64::from(port), item);
                    }
                    continue;
                }
                // A triple fault, which resets a PC.
                Ok(VcpuExit::Shutdown) => return Ok(Exit::System(SystemEvent::Reboot)),
                Ok(VcpuExit::Intr) => continue,
                Ok(VcpuExit::InternalError) => internal_error(self.shared.page.internal_error()),
                Ok(VcpuExit::FailEntry(code, _)) => {
                    format!("the processor refuses to enter it, code {code:#x}")
                }
                Ok(exit) => {
                    format!("KVM stopped it for a reason that Clade does not know: {exit:?}")
                }
                Err(error) => match error.errno() {
                    libc::EINTR => {
                        if self.shared.kick.take(&self.shared) {
                            return Ok(Exit::Kicked);
                        }
                        continue;
                    }
                    // A vCPU that waited to be started was started, or woken for nothing.
                    libc::EAGAIN => continue,
                    _ => return Err(refused("to run a vCPU")(error)),
                },
            };
            return Err(self.stopped(&fd, reason));
        }
    }

    fn handle(&self) -> Arc<dyn VcpuHandle> {
        self.shared.clone()
    }

    fn save(&self) -> Result<VcpuState, EngineError> {
        let stopped = *lock(&self.shared.stopped);
        let fd = lock(&self.shared.fd);
        SavedVcpu::read(&fd, self.index, &self.cpuid, &self.machine.msrs, stopped)?.pack()
    }

    fn restore(&mut self, state: &VcpuState) -> Result<(), EngineError> {
        let saved = SavedVcpu::unpack(state, self.index)?;
        let cpuid = Leaves(saved.cpuid.clone());
        check_host_has(self.machine.cpuid.host(), &cpuid)?;
        let tsc = saved.write(&lock(&self.shared.fd))?;
        *lock(&self.shared.stopped) = Some(tsc);
        self.cpuid = cpuid;
        Ok(())
    }
}

impl Shared {
    /// Remembers the time, until [`Shared::start_clock`].
    pub(crate) fn stop_clock(&self) -> Result<(), EngineError> {
        let tsc = StoppedTsc::read(&lock(&self.fd))?;
        *lock(&self.stopped) = Some(tsc);
        Ok(())
    }

    /// Goes on from the time that was remembered or restored. The machine's `first` sets the time, and
    /// KVM makes the others' counters equal to it.
    pub(crate) fn start_clock(&self, first: bool) -> Result<(), EngineError> {
        let Some(tsc) = lock(&self.stopped).take() else {
            return Ok(());
        };
        let fd = lock(&self.fd);
        if first {
            tsc.leave_others(&fd)?;
        }
        tsc.write(&fd)
    }

    /// Tells the guest that it stood still.
    pub(crate) fn tell_stop(&self) -> Result<(), EngineError> {
        clock::tell(&lock(&self.fd))
    }
}

/// Where nothing answers, nothing drives the data lines: all ones.
fn read(bus: &dyn IoBus, address: u64, data: &mut [u8]) {
    if bus.read(address, data).is_err() {
        data.fill(0xff);
    }
}

/// Linux's names for them are `KVM_INTERNAL_ERROR_...`.
fn internal_error(code: u32) -> String {
    match code {
        1 => "KVM cannot emulate an instruction of the guest's".into(),
        2 => "several exceptions at once were more than KVM can handle".into(),
        3 => "the processor could not deliver an event to it".into(),
        4 => "the processor left it for a reason that KVM does not know".into(),
        _ => format!("KVM met an error of its own, code {code}"),
    }
}
