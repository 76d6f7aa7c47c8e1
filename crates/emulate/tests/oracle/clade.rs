//! Runs a program under Clade, through the engine contract.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use clade_emulate::{Boot, Emulator, EmulatorConfig, Stepper};
use clade_engine::{Clock, Engine, Exit, GuestRam, IoBus, Unmapped, VcpuHandle};
use vm_memory::{Bytes, GuestAddress};

use super::layout::{BASE, RAM_SIZE, SIGNATURE, SIGNATURE_END, TO_HOST};

/// Looks at the clock after which a program is taken to hang; it looks every few thousand
/// instructions, and after some CSR accesses.
const PATIENCE: u64 = 20_000;

/// The machine around the hart: a store to [`TO_HOST`] ends the program, and so does too much time.
#[derive(Default)]
struct Host {
    vcpu: OnceLock<Arc<dyn VcpuHandle>>,
    done: AtomicU64,
    looks: AtomicU64,
}

impl Host {
    fn stop(&self) {
        if let Some(vcpu) = self.vcpu.get() {
            vcpu.kick();
        }
    }
}

impl IoBus for Host {
    fn read(&self, address: u64, _: &mut [u8]) -> Result<(), Unmapped> {
        Err(Unmapped { address })
    }

    fn write(&self, address: u64, _: &[u8]) -> Result<(), Unmapped> {
        if address != TO_HOST {
            return Err(Unmapped { address });
        }
        self.done.store(1, Ordering::Relaxed);
        self.stop();
        Ok(())
    }
}

/// Time stands still, so that no timer ever expires.
impl Clock for Host {
    fn monotonic_ns(&self) -> u64 {
        if self.looks.fetch_add(1, Ordering::Relaxed) > PATIENCE {
            self.stop();
        }
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

fn machine(image: &[u8]) -> Machine {
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
    });
    Machine {
        host,
        ram,
        emulator,
    }
}

/// Runs a program to its end; the signature, or what went wrong.
pub fn run(image: &[u8]) -> Result<Vec<u64>, String> {
    let Machine {
        host,
        ram,
        emulator,
    } = machine(image);
    let mut vcpu = emulator.create_vcpu(0).map_err(|e| e.to_string())?;
    let _ = host.vcpu.set(vcpu.handle());
    let exit = vcpu.run().map_err(|e| e.to_string())?;
    if exit != Exit::Kicked {
        return Err(format!("Clade's hart ended with {exit:?}"));
    }
    if host.done.load(Ordering::Relaxed) == 0 {
        return Err("Clade does not come to the program's end".into());
    }
    let mut bytes = vec![0; (SIGNATURE_END - SIGNATURE) as usize];
    ram.read_slice(&mut bytes, GuestAddress(SIGNATURE))
        .map_err(|e| e.to_string())?;
    Ok(super::doublewords(&bytes))
}

/// A hart at the beginning of a program, to be stepped.
pub struct Stepping {
    pub stepper: Stepper,
    host: Arc<Host>,
    ram: Arc<GuestRam>,
}

impl Stepping {
    pub fn new(image: &[u8]) -> Result<Self, String> {
        let Machine {
            host,
            ram,
            emulator,
        } = machine(image);
        let stepper = emulator.create_stepper(0).map_err(|e| e.to_string())?;
        Ok(Self { stepper, host, ram })
    }

    /// Executes one instruction or takes one trap. False when the program has ended.
    pub fn step(&mut self) -> bool {
        self.stepper.step();
        self.host.done.load(Ordering::Relaxed) == 0
            && self.host.looks.load(Ordering::Relaxed) <= PATIENCE
    }

    /// The instruction at a physical address, as text.
    pub fn disassemble(&self, address: u64) -> String {
        let parcel = |at| self.ram.read_obj::<u16>(GuestAddress(at)).unwrap_or(0);
        let raw = u32::from(parcel(address)) | u32::from(parcel(address + 2)) << 16;
        clade_riscv::isa::disassemble(raw, address)
    }
}
