//! Runs a program under Clade, through the engine contract.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use clade_emulate::{Boot, Clint, Emulator, EmulatorConfig, Stepper, Tier, Tuning};
use clade_engine::{Clock, Engine, Exit, GuestRam, IoBus, IoDevice, Unmapped, VcpuHandle};
use clade_riscv::hart::{Hart, Mode};
use vm_memory::{Bytes, GuestAddress};

use super::layout::{BASE, CLINT, RAM_SIZE, SIGNATURE, SIGNATURE_END, TO_HOST};

/// How long a program may take; it should take milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// The machine around the hart: a store to [`TO_HOST`] ends the program.
#[derive(Default)]
struct Host {
    vcpu: OnceLock<Arc<dyn VcpuHandle>>,
    clint: OnceLock<Arc<Clint>>,
    done: AtomicBool,
}

impl IoBus for Host {
    fn read(&self, address: u64, _: &mut [u8]) -> Result<(), Unmapped> {
        Err(Unmapped { address })
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), Unmapped> {
        if (CLINT..CLINT + Clint::SIZE).contains(&address) {
            if let Some(clint) = self.clint.get() {
                clint.write(address - CLINT, data);
            }
            return Ok(());
        }
        if address != TO_HOST {
            return Err(Unmapped { address });
        }
        self.done.store(true, Ordering::Relaxed);
        if let Some(vcpu) = self.vcpu.get() {
            vcpu.kick();
        }
        Ok(())
    }
}

/// Time stands still, so that no timer ever expires.
impl Clock for Host {
    fn monotonic_ns(&self) -> u64 {
        0
    }

    fn wall_ns(&self) -> u64 {
        0
    }
}

struct Machine {
    host: Arc<Host>,
    ram: Arc<GuestRam>,
    emulator: Emulator,
}

fn machine(image: &[u8], tuning: Tuning) -> Machine {
    let ram = GuestRam::from_ranges(&[(GuestAddress(BASE), RAM_SIZE as usize)]).expect("memory");
    ram.write_slice(image, GuestAddress(BASE)).expect("image");
    let ram = Arc::new(ram);
    let host = Arc::new(Host::default());
    let emulator = Emulator::new(EmulatorConfig {
        harts: 1,
        ram: ram.clone(),
        bus: host.clone(),
        clock: host.clone(),
        boot: Boot::Machine {
            entry: BASE,
            device_tree: 0,
            information: 0,
        },
        imsic: false,
        tuning,
        code_cache: None,
    });
    let _ = host.clint.set(emulator.clint());
    Machine {
        host,
        ram,
        emulator,
    }
}

/// The ways in which every program is run.
pub(crate) fn tunings() -> [Tuning; 3] {
    let interpreter = Tuning {
        tier: Tier::Interpreter,
        ..Tuning::default()
    };
    let translator = |hot_after| Tuning {
        tier: Tier::Translator,
        hot_after,
        ..Tuning::default()
    };
    [interpreter, translator(0), translator(2)]
}

/// Runs a program to its end; the signature, or what went wrong.
pub(crate) fn run(image: &[u8], tuning: Tuning) -> Result<Vec<u64>, String> {
    let Machine {
        host,
        ram,
        emulator,
    } = machine(image, tuning);
    let mut vcpu = emulator.create_vcpu(0).map_err(|e| e.to_string())?;
    let handle = vcpu.handle();
    let _ = host.vcpu.set(handle.clone());
    let (ended, end) = mpsc::channel::<()>();
    let exit = thread::scope(|scope| {
        scope.spawn(move || {
            if end.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                handle.kick();
            }
        });
        let exit = vcpu.run();
        drop(ended);
        exit
    });
    let exit = exit.map_err(|e| e.to_string())?;
    if exit != Exit::Kicked {
        return Err(format!("Clade's hart ended with {exit:?}"));
    }
    if !host.done.load(Ordering::Relaxed) {
        return Err("Clade does not come to the program's end".into());
    }
    let mut bytes = vec![0; (SIGNATURE_END - SIGNATURE) as usize];
    ram.read_slice(&mut bytes, GuestAddress(SIGNATURE))
        .map_err(|e| e.to_string())?;
    Ok(super::doublewords(&bytes))
}

/// A hart at the beginning of a program, to be stepped.
pub(crate) struct Stepping {
    stepper: Stepper,
    host: Arc<Host>,
    ram: Arc<GuestRam>,
}

/// What [`Stepping::step`] did.
pub(crate) struct Step {
    /// Where the hart was before, and in which mode.
    pub(crate) pc: u64,
    pub(crate) mode: Mode,
    /// The instruction's bits, if it is in memory at physical address `pc`.
    pub(crate) raw: u32,
    /// The instruction retired; else it trapped.
    pub(crate) retired: bool,
}

impl Stepping {
    pub(crate) fn new(image: &[u8]) -> Result<Self, String> {
        let Machine {
            host,
            ram,
            emulator,
        } = machine(image, Tuning::default());
        let stepper = emulator.create_stepper(0).map_err(|e| e.to_string())?;
        Ok(Self { stepper, host, ram })
    }

    pub(crate) fn hart(&self) -> &Hart {
        self.stepper.hart()
    }

    /// Whether the program has come to its end.
    pub(crate) fn is_done(&self) -> bool {
        self.host.done.load(Ordering::Relaxed)
    }

    /// Executes one instruction or takes one trap.
    pub(crate) fn step(&mut self) -> Step {
        let Hart {
            pc, mode, retired, ..
        } = *self.hart();
        let raw = self.raw(pc);
        self.stepper.step();
        Step {
            pc,
            mode,
            raw,
            retired: self.hart().retired != retired,
        }
    }

    /// The instruction at a physical address, as text.
    pub(crate) fn disassemble(&self, address: u64) -> String {
        clade_riscv::isa::disassemble(self.raw(address), address)
    }

    fn raw(&self, address: u64) -> u32 {
        let parcel = |at| self.ram.read_obj::<u16>(GuestAddress(at)).unwrap_or(0);
        let next = address.saturating_add(2);
        u32::from(parcel(address)) | u32::from(parcel(next)) << 16
    }
}
