//! The engine contract's view of the emulator.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clade_engine::{
    Arch, Clock, DirtyPages, Engine, EngineError, Exit, GuestRam, IoBus, IrqLine, Vcpu, VcpuHandle,
    VcpuState, harvest_dirty,
};
use clade_riscv::csr::{Aia, envcfg, stateen};
use clade_riscv::hart::{Hart, Mode};
use clade_riscv::imsic::InterruptFileState;
use clade_riscv::trap::{DELEGABLE_EXCEPTIONS, interrupt};
use serde::{Deserialize, Serialize};

use crate::clint::Clint;
use crate::core::{Core, Shared};
use crate::executor::Executor;
use crate::hsm::HsmState;
use crate::imsic::Imsic;
use crate::memory::GuestMemory;
use crate::port::{HartLine, InterruptFiles, Port, request};
use crate::sbi::pmu::Pmu;
use crate::sbi::{DebugConsole, Sbi};
use crate::stats::Stats;
use crate::stepper::Stepper;
use crate::time::Timebase;
use crate::translator::Translator;
use crate::tuning::{Tier, Tuning};

/// How a machine's harts begin.
pub enum Boot {
    /// Hart 0 enters a kernel in S-mode, the others wait in the built-in SBI to be started.
    Supervisor {
        /// The kernel's entry point.
        entry: u64,
        /// Goes into `a1`: the device tree's address.
        device_tree: u64,
        /// Where the SBI's debug console prints and reads.
        console: Arc<dyn DebugConsole>,
    },
    /// Every hart enters firmware in M-mode.
    Machine {
        /// The firmware's entry point.
        entry: u64,
        /// Goes into `a1`: the device tree's address.
        device_tree: u64,
        /// Goes into `a2`: a structure for the firmware, or 0.
        information: u64,
    },
}

/// What an emulator is made of.
pub struct EmulatorConfig {
    /// Number of harts, at least 1.
    pub harts: u32,
    /// The guest's memory.
    pub ram: Arc<GuestRam>,
    /// What answers outside of memory.
    pub bus: Arc<dyn IoBus>,
    /// The machine's time.
    pub clock: Arc<dyn Clock>,
    /// How the harts begin.
    pub boot: Boot,
    /// Whether each hart has an IMSIC, which then takes the place of its external interrupt inputs.
    pub imsic: bool,
    /// How they are executed.
    pub tuning: Tuning,
    /// What [`Engine::save_code_cache`] wrote for a machine that went on with the same memory. What is not
    /// for this one is not used.
    pub code_cache: Option<File>,
}

/// An external interrupt input of a hart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HartInterrupt {
    /// `mip.SEIP`.
    SupervisorExternal,
    /// `mip.MEIP`.
    MachineExternal,
}

impl HartInterrupt {
    /// The privilege level that it is for.
    fn level(self) -> Mode {
        match self {
            Self::SupervisorExternal => Mode::Supervisor,
            Self::MachineExternal => Mode::Machine,
        }
    }
}

/// Runs the harts of one machine.
pub struct Emulator {
    shared: Arc<Shared>,
    ram: Arc<GuestRam>,
    /// The harts as they begin, by index.
    initial: Vec<Hart>,
    created: Vec<AtomicBool>,
}

impl Emulator {
    /// Sets up the harts. Nothing runs yet.
    pub fn new(config: EmulatorConfig) -> Self {
        let EmulatorConfig {
            harts,
            ram,
            bus,
            clock,
            boot,
            imsic,
            tuning,
            code_cache,
        } = config;
        let initial: Vec<Hart> = (0..u64::from(harts))
            .map(|id| initial_hart(id, &boot, imsic))
            .collect();
        let hsm = |id| match boot {
            Boot::Supervisor { .. } if id != 0 => HsmState::Stopped,
            _ => HsmState::Started,
        };
        let files = || imsic.then(InterruptFiles::default);
        let ports: Vec<_> = (0..harts)
            .map(|id| Arc::new(Port::new(hsm(id), files())))
            .collect();
        let sbi = match boot {
            Boot::Supervisor { console, .. } => Some(Sbi { console }),
            Boot::Machine { .. } => None,
        };
        let memory = GuestMemory::new(&ram);
        let time = Timebase::new(clock);
        let translator = (tuning.tier == Tier::Translator)
            .then(|| Translator::new(&tuning, &memory, &ports, code_cache.as_ref()))
            .flatten();
        Self {
            shared: Arc::new(Shared {
                memory,
                bus,
                time,
                ports,
                sbi,
                tuning,
                translator,
            }),
            ram,
            initial,
            created: (0..harts).map(|_| AtomicBool::new(false)).collect(),
        }
    }

    /// The tier that is used: less than was wanted where the host lacks something.
    pub fn tier(&self) -> Tier {
        match self.shared.translator {
            Some(_) => Tier::Translator,
            None => Tier::Interpreter,
        }
    }

    /// What all harts have done together, each as of when its `run` last returned.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for port in &self.shared.ports {
            stats += port.stats();
        }
        if let Some(translator) = &self.shared.translator {
            stats.pages_changed += translator.pages_changed();
            stats.pages_inherited += translator.pages_inherited();
        }
        stats
    }

    /// The wire into an interrupt input of hart `hart`, or `None` when there is no such hart.
    pub fn interrupt_line(&self, hart: u32, input: HartInterrupt) -> Option<Arc<dyn IrqLine>> {
        let port = self.shared.ports.get(hart as usize)?.clone();
        let bit = match input {
            HartInterrupt::SupervisorExternal => interrupt::SEI,
            HartInterrupt::MachineExternal => interrupt::MEI,
        };
        Some(Arc::new(HartLine { port, bit }))
    }

    /// The harts' interrupt files behind one of their inputs, for the board to map and for devices to write
    /// to; `None` without them.
    pub fn imsic(&self, input: HartInterrupt) -> Option<Arc<Imsic>> {
        let ports = &self.shared.ports;
        ports.first()?.imsic()?;
        Some(Arc::new(Imsic::new(ports.clone(), input.level())))
    }

    /// The machine's core-local interruptor, for the board to map.
    pub fn clint(&self) -> Arc<Clint> {
        Arc::new(Clint::new(&self.shared))
    }

    /// Makes hart `index` for a debugger or a test that wants to stop after a given number of
    /// instructions, in place of [`Engine::create_vcpu`].
    ///
    /// # Errors
    /// As those of [`Engine::create_vcpu`].
    pub fn create_stepper(&self, index: u32) -> Result<Stepper, EngineError> {
        Ok(Stepper::new(Executor::new(self.create_core(index)?)))
    }

    fn create_core(&self, index: u32) -> Result<Core, EngineError> {
        let refuse = |reason| EngineError::Vcpu { index, reason };
        let created = self
            .created
            .get(index as usize)
            .ok_or(refuse("the machine has fewer"))?;
        if created.swap(true, Ordering::Relaxed) {
            return Err(refuse("it exists already"));
        }
        let index = index as usize;
        let port = self.shared.ports[index].clone();
        Ok(Core::new(
            self.initial[index].clone(),
            self.shared.clone(),
            port,
        ))
    }
}

/// A hart as its machine starts.
fn initial_hart(id: u64, boot: &Boot, imsic: bool) -> Hart {
    let aia = imsic.then(Aia::default);
    match *boot {
        Boot::Machine {
            entry,
            device_tree,
            information,
        } => {
            let mut hart = Hart::new(id, entry);
            hart.csrs.aia = aia;
            hart.x[10] = id;
            hart.x[11] = device_tree;
            hart.x[12] = information;
            hart
        }
        Boot::Supervisor {
            entry, device_tree, ..
        } => {
            let mut hart = Hart::new(id, entry);
            hart.csrs.aia = aia;
            hart.mode = Mode::Supervisor;
            hart.x[10] = id;
            hart.x[11] = device_tree;
            prepare_for_supervisor(&mut hart);
            hart
        }
    }
}

/// What firmware sets up before it enters S-mode: everything delegated and enabled.
fn prepare_for_supervisor(hart: &mut Hart) {
    let csrs = &mut hart.csrs;
    csrs.medeleg = DELEGABLE_EXCEPTIONS;
    csrs.mideleg = interrupt::SUPERVISOR;
    csrs.mcounteren = u64::from(u32::MAX);
    csrs.menvcfg =
        envcfg::CBIE | envcfg::CBCFE | envcfg::CBZE | envcfg::ADUE | envcfg::PBMTE | envcfg::STCE;
    csrs.mstateen[0] = stateen::SE0 | stateen::ENVCFG;
    if csrs.aia.is_some() {
        csrs.mstateen[0] |= stateen::IMSIC | stateen::AIA | stateen::INDIRECT;
    }
    csrs.pmp.open_all();
}

impl Engine for Emulator {
    fn name(&self) -> &'static str {
        "emulate"
    }

    fn arch(&self) -> Arch {
        Arch::Riscv64
    }

    fn create_vcpu(&self, index: u32) -> Result<Box<dyn Vcpu>, EngineError> {
        Ok(Box::new(HartVcpu {
            executor: Executor::new(self.create_core(index)?),
        }))
    }

    fn take_dirty_pages(&self) -> Result<DirtyPages, EngineError> {
        let pages = harvest_dirty(&self.ram);
        for port in &self.shared.ports {
            port.request(request::REVOKE_WRITES);
        }
        for port in &self.shared.ports {
            while port.is_pending(request::REVOKE_WRITES) {
                std::thread::yield_now();
            }
        }
        Ok(pages)
    }

    fn save_code_cache(&self, file: &File, anyway: bool) -> io::Result<bool> {
        match &self.shared.translator {
            Some(translator) => translator.save(file, anyway),
            None => Ok(false),
        }
    }
}

/// One hart behind the contract.
struct HartVcpu {
    executor: Executor,
}

/// A hart's interrupt files.
#[derive(Serialize, Deserialize)]
struct SavedImsic {
    machine: InterruptFileState,
    supervisor: InterruptFileState,
}

/// Everything of a hart that its guest can observe, and the layout of `VcpuState::registers`.
#[derive(Serialize, Deserialize)]
struct SavedHart {
    hart: Hart,
    hsm: HsmState,
    lines: u64,
    imsic: Option<SavedImsic>,
    mtimecmp: u64,
    /// The machine's, the same in all its harts.
    time_offset: u64,
    pmu: Pmu,
}

impl SavedHart {
    /// Refuses what no hart with this id can be in: the state may come from anywhere.
    fn check(&self, id: u64, has_imsic: bool) -> Result<(), EngineError> {
        const WIRES: u64 = interrupt::MSI | interrupt::MEI | interrupt::SEI;
        let impossible =
            |what| EngineError::State(format!("its {what} holds a value that no hart can have"));
        self.hart.check().map_err(impossible)?;
        if self.hart.csrs.mhartid != id {
            return Err(EngineError::State(format!(
                "it is that of hart {}, and this is hart {id}",
                self.hart.csrs.mhartid
            )));
        }
        if !self.hsm.is_legal() {
            return Err(impossible("entry address"));
        }
        if has_imsic != self.imsic.is_some() || has_imsic != self.hart.csrs.aia.is_some() {
            let (its, ours) = if has_imsic {
                ("no", "an")
            } else {
                ("an", "no")
            };
            return Err(EngineError::State(format!(
                "it is that of a hart with {its} IMSIC, and this one has {ours}"
            )));
        }
        let files = self.imsic.iter();
        let mut files = files.flat_map(|imsic| [&imsic.machine, &imsic.supervisor]);
        if !files.all(InterruptFileState::is_legal) {
            return Err(impossible("interrupt file"));
        }
        if self.lines & !WIRES != 0 {
            return Err(impossible("set of interrupt wires"));
        }
        Ok(())
    }
}

const STATE_VERSION: u32 = 2;

impl Vcpu for HartVcpu {
    fn run(&mut self) -> Result<Exit, EngineError> {
        loop {
            if let Some(exit) = self.executor.run(u64::MAX) {
                return Ok(exit);
            }
        }
    }

    fn handle(&self) -> Arc<dyn VcpuHandle> {
        self.executor.core.port.clone()
    }

    fn save(&self) -> Result<VcpuState, EngineError> {
        let port = &self.executor.core.port;
        let mut hart = self.executor.core.hart.clone();
        // Sent by another hart, and this one has not looked since.
        if port.is_requested(request::SOFTWARE_INTERRUPT) {
            hart.csrs.mip |= interrupt::SSI;
        }
        let saved = SavedHart {
            hart,
            hsm: port.with_hsm(|state| *state),
            lines: port.lines(),
            imsic: port.imsic().map(|files| SavedImsic {
                machine: files.at(Mode::Machine).save(),
                supervisor: files.at(Mode::Supervisor).save(),
            }),
            mtimecmp: port.mtimecmp(),
            time_offset: self.executor.core.shared.time.offset(),
            pmu: self.executor.core.firmware_events.clone(),
        };
        let registers =
            serde_json::to_vec(&saved).map_err(|e| EngineError::State(e.to_string()))?;
        Ok(VcpuState {
            arch: Arch::Riscv64,
            version: STATE_VERSION,
            registers,
        })
    }

    fn restore(&mut self, state: &VcpuState) -> Result<(), EngineError> {
        if (state.arch, state.version) != (Arch::Riscv64, STATE_VERSION) {
            return Err(EngineError::State(format!(
                "it is version {} for {:?}, and this engine takes version {STATE_VERSION} for {:?}",
                state.version,
                state.arch,
                Arch::Riscv64
            )));
        }
        let saved: SavedHart = serde_json::from_slice(&state.registers)
            .map_err(|e| EngineError::State(e.to_string()))?;
        let port = &self.executor.core.port;
        saved.check(self.executor.core.hart.csrs.mhartid, port.imsic().is_some())?;
        if let (Some(files), Some(saved)) = (port.imsic(), &saved.imsic) {
            files.at(Mode::Machine).restore(&saved.machine);
            files.at(Mode::Supervisor).restore(&saved.supervisor);
        }
        port.withdraw(request::SOFTWARE_INTERRUPT);
        port.with_hsm(|hsm| *hsm = saved.hsm);
        self.executor.core.shared.time.set_offset(saved.time_offset);
        port.set_lines(saved.lines);
        port.set_mtimecmp(saved.mtimecmp);
        self.executor.core.firmware_events = saved.pmu;
        self.executor.core.set_hart(saved.hart);
        Ok(())
    }
}
