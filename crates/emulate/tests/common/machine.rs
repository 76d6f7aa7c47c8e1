//! A machine of RAM, harts and a few devices that tests look into.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use clade_emulate::{
    Boot, Clint, DebugConsole, Emulator, EmulatorConfig, HartInterrupt, Imsic, Tier, Tuning,
};
use clade_engine::{
    Arch, Clock, Engine, Exit, GuestRam, IoBus, IoDevice, IrqLine, Unmapped, Vcpu, VcpuHandle,
    VcpuState,
};
use clade_riscv::hart::Hart;
use vm_memory::{Bytes, GuestAddress};

use super::asm::Asm;

pub const RAM: u64 = 0x8000_0000;
pub const RAM_SIZE: u64 = 4 << 20;
/// A store here ends the run of all vCPUs.
pub const FINISHER: u64 = 0x10_0000;
pub const CLINT: u64 = 0x200_0000;
/// A store of `hart << 8 | level` drives a hart's supervisor external interrupt, `1 << 16` more
/// its machine external one.
pub const WIRES: u64 = 0x300_0000;
/// A store lets that many nanoseconds pass.
pub const TIME: u64 = 0x400_0000;
/// Stores are logged; loads give 0xa5 in every byte.
pub const LOG: u64 = 0x500_0000;
/// A store kicks every vCPU.
pub const KICK: u64 = 0x580_0000;
/// Interrupt files of S-mode and of M-mode, a page for each hart.
pub const IMSIC_S: u64 = 0x700_0000;
pub const IMSIC_M: u64 = 0x708_0000;
pub const IMSIC_END: u64 = 0x710_0000;
/// Nothing answers here.
pub const NOWHERE: u64 = 0x600_0000;

/// Long enough for any test on a loaded machine; a run that takes longer is hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time that passes only when a test or a guest says so.
#[derive(Default)]
pub struct TestClock(AtomicU64);

impl TestClock {
    pub fn advance(&self, ns: u64) {
        self.0.fetch_add(ns, SeqCst);
    }
}

impl Clock for TestClock {
    fn monotonic_ns(&self) -> u64 {
        self.0.load(SeqCst)
    }

    fn wall_ns(&self) -> u64 {
        self.monotonic_ns()
    }
}

/// The test's side of the SBI debug console.
#[derive(Default)]
pub struct Console {
    pub printed: Mutex<Vec<u8>>,
    pub typed: Mutex<Vec<u8>>,
}

impl DebugConsole for Console {
    fn write(&self, bytes: &[u8]) {
        self.printed.lock().unwrap().extend(bytes);
    }

    fn read(&self, buffer: &mut [u8]) -> usize {
        let mut typed = self.typed.lock().unwrap();
        let count = typed.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(typed.drain(..count)) {
            *to = from;
        }
        count
    }
}

/// The bus and its devices.
#[derive(Default)]
pub struct Board {
    pub clock: Arc<TestClock>,
    /// What was stored to [`LOG`], as `(offset, size, value)`.
    pub log: Mutex<Vec<(u64, usize, u64)>>,
    finished: AtomicBool,
    /// Vcpus that were kicked do not run again before this is cleared.
    held: AtomicBool,
    clint: OnceLock<Arc<Clint>>,
    imsics: OnceLock<[Arc<Imsic>; 2]>,
    wires: OnceLock<Vec<[Arc<dyn IrqLine>; 2]>>,
    handles: Mutex<Vec<Arc<dyn VcpuHandle>>>,
}

impl Board {
    pub fn finished(&self) -> bool {
        self.finished.load(SeqCst)
    }

    /// Makes every vCPU's `run` return, for good.
    pub fn finish(&self) {
        self.finished.store(true, SeqCst);
        self.kick();
    }

    pub fn kick(&self) {
        for handle in self.handles.lock().unwrap().iter() {
            handle.kick();
        }
    }

    /// Stops all vCPUs, or lets them run again.
    pub fn hold(&self, held: bool) {
        self.held.store(held, SeqCst);
        if held {
            self.kick();
        }
    }

    /// The interrupt files of S-mode or M-mode.
    pub fn imsic(&self, machine: bool) -> &Imsic {
        &self.imsics.get().expect("IMSICs")[usize::from(machine)]
    }

    /// Drives an external interrupt of a hart.
    pub fn set_wire(&self, hart: usize, machine: bool, level: bool) {
        self.wires.get().expect("wired")[hart][usize::from(machine)].set_level(level);
    }
}

impl IoBus for Board {
    fn read(&self, address: u64, data: &mut [u8]) -> Result<(), Unmapped> {
        match address {
            CLINT..WIRES => self.clint.get().unwrap().read(address - CLINT, data),
            LOG..KICK => data.fill(0xa5),
            IMSIC_S..IMSIC_M => self.imsic(false).read(address - IMSIC_S, data),
            IMSIC_M..IMSIC_END => self.imsic(true).read(address - IMSIC_M, data),
            _ => return Err(Unmapped { address }),
        }
        Ok(())
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), Unmapped> {
        let mut bytes = [0; 8];
        bytes[..data.len()].copy_from_slice(data);
        let value = u64::from_le_bytes(bytes);
        match address {
            FINISHER => self.finish(),
            CLINT..WIRES => self.clint.get().unwrap().write(address - CLINT, data),
            IMSIC_S..IMSIC_M => self.imsic(false).write(address - IMSIC_S, data),
            IMSIC_M..IMSIC_END => self.imsic(true).write(address - IMSIC_M, data),
            WIRES => self.set_wire(
                (value >> 8 & 0xff) as usize,
                value >> 16 & 1 != 0,
                value & 1 != 0,
            ),
            TIME => self.clock.advance(value),
            KICK => self.kick(),
            LOG..KICK => {
                let entry = (address - LOG, data.len(), value);
                self.log.lock().unwrap().push(entry);
            }
            _ => return Err(Unmapped { address }),
        }
        Ok(())
    }
}

/// How tests' harts are executed: all by the interpreter, or in the crate `translator`, which
/// repeats them, all by the translator.
pub fn tuning() -> Tuning {
    match env!("CARGO_CRATE_NAME") {
        "translator" => Tuning {
            tier: Tier::Translator,
            hot_after: 0,
            ..Tuning::default()
        },
        _ => Tuning {
            tier: Tier::Interpreter,
            ..Tuning::default()
        },
    }
}

/// Which privilege mode the harts begin in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the built-in SBI; harts but the first are stopped.
    Supervisor,
    /// As firmware; all harts run.
    Machine,
}

pub struct Machine {
    pub emulator: Arc<Emulator>,
    pub board: Arc<Board>,
    pub console: Arc<Console>,
    pub ram: Arc<GuestRam>,
    pub vcpus: Vec<Box<dyn Vcpu>>,
}

impl Machine {
    /// `harts` harts that begin at [`RAM`].
    pub fn new(start: Start, harts: u32) -> Self {
        Self::make(start, harts, false)
    }

    /// The same, with IMSICs.
    pub fn with_imsics(start: Start, harts: u32, program: impl FnOnce(&mut Asm)) -> Self {
        let machine = Self::make(start, harts, true);
        machine.assemble(RAM, program);
        machine
    }

    fn make(start: Start, harts: u32, imsic: bool) -> Self {
        let ram = GuestRam::from_ranges(&[(GuestAddress(RAM), RAM_SIZE as usize)]);
        let ram = Arc::new(ram.expect("memory"));
        let board = Arc::new(Board::default());
        let console = Arc::new(Console::default());
        let boot = match start {
            Start::Supervisor => Boot::Supervisor {
                entry: RAM,
                device_tree: 0,
                console: console.clone(),
            },
            Start::Machine => Boot::Machine {
                entry: RAM,
                device_tree: 0,
                information: 0,
            },
        };
        let emulator = Emulator::new(EmulatorConfig {
            harts,
            ram: ram.clone(),
            bus: board.clone(),
            clock: board.clock.clone(),
            boot,
            imsic,
            tuning: tuning(),
            code_cache: None,
        });
        let _ = board.clint.set(emulator.clint());
        let line = |hart, input| emulator.interrupt_line(hart, input).expect("a hart");
        let wires = (0..harts).map(|hart| {
            [
                line(hart, HartInterrupt::SupervisorExternal),
                line(hart, HartInterrupt::MachineExternal),
            ]
        });
        let _ = board.wires.set(wires.collect());
        let files = |input| emulator.imsic(input).expect("IMSICs");
        if imsic {
            let _ = board.imsics.set([
                files(HartInterrupt::SupervisorExternal),
                files(HartInterrupt::MachineExternal),
            ]);
        }
        let vcpus: Vec<_> = (0..harts)
            .map(|hart| emulator.create_vcpu(hart).expect("a vCPU"))
            .collect();
        *board.handles.lock().unwrap() = vcpus.iter().map(|vcpu| vcpu.handle()).collect();
        Self {
            emulator: Arc::new(emulator),
            board,
            console,
            ram,
            vcpus,
        }
    }

    /// A machine with one hart and a program at [`RAM`].
    pub fn with(start: Start, program: impl FnOnce(&mut Asm)) -> Self {
        Self::with_harts(start, 1, program)
    }

    /// A machine with a program at [`RAM`].
    pub fn with_harts(start: Start, harts: u32, program: impl FnOnce(&mut Asm)) -> Self {
        let machine = Self::new(start, harts);
        machine.assemble(RAM, program);
        machine
    }

    /// Puts a program into memory.
    pub fn assemble(&self, address: u64, program: impl FnOnce(&mut Asm)) -> Asm {
        let mut asm = Asm::new(address);
        program(&mut asm);
        self.write(address, &asm.bytes());
        asm
    }

    pub fn write(&self, address: u64, bytes: &[u8]) {
        self.ram
            .write_slice(bytes, GuestAddress(address))
            .expect("RAM");
    }

    pub fn read(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.ram
            .read_slice(&mut bytes, GuestAddress(address))
            .expect("RAM");
        bytes
    }

    pub fn read_u64(&self, address: u64) -> u64 {
        self.ram.read_obj(GuestAddress(address)).expect("RAM")
    }

    pub fn write_u64(&self, address: u64, value: u64) {
        self.ram
            .write_obj(value, GuestAddress(address))
            .expect("RAM");
    }

    /// Runs hart 0 alone until its program finishes or asks something of the machine.
    pub fn run(&mut self) -> Exit {
        self.run_all().swap_remove(0)
    }

    /// Runs all harts, each on its own thread, until one finishes or asks something of the
    /// machine; returns how each of them ended.
    pub fn run_all(&mut self) -> Vec<Exit> {
        self.run_with(|_| {})
    }

    /// As [`Machine::run_all`], while `meanwhile` runs on this thread.
    pub fn run_with(&mut self, meanwhile: impl FnOnce(&Board)) -> Vec<Exit> {
        self.board.finished.store(false, SeqCst);
        let (board, vcpus) = (&*self.board, &mut self.vcpus);
        let done = (Mutex::new(0), Condvar::new());
        let count = vcpus.len();
        thread::scope(|scope| {
            let threads: Vec<_> = vcpus
                .iter_mut()
                .map(|vcpu| {
                    scope.spawn(|| {
                        let exit = run_until_finished(vcpu.as_mut(), board);
                        *done.0.lock().unwrap() += 1;
                        done.1.notify_all();
                        exit
                    })
                })
                .collect();
            // Should `meanwhile` panic, the scope must not wait for harts that run for ever.
            let guard = FinishOnPanic(board);
            meanwhile(board);
            drop(guard);
            let guard = done.0.lock().unwrap();
            let (guard, waited) = done
                .1
                .wait_timeout_while(guard, PATIENCE, |ended| *ended < count)
                .unwrap();
            drop(guard);
            if waited.timed_out() {
                board.finish();
                panic!("the program did not finish in {PATIENCE:?}");
            }
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        })
    }

    /// The saved state of a hart.
    pub fn state(&self, hart: usize) -> VcpuState {
        self.vcpus[hart].save().expect("saved")
    }

    pub fn restore(&mut self, hart: usize, state: &VcpuState) {
        self.vcpus[hart].restore(state).expect("restored");
    }

    /// The registers of a hart.
    pub fn hart(&self, hart: usize) -> Hart {
        let state: serde_json::Value =
            serde_json::from_slice(&self.state(hart).registers).expect("JSON");
        serde_json::from_value(state["hart"].clone()).expect("a hart")
    }

    /// Register `register` of hart 0.
    pub fn x(&self, register: u8) -> u64 {
        self.hart(0).x[usize::from(register)]
    }

    /// Changes the registers of a hart.
    pub fn set_hart(&mut self, hart: usize, change: impl FnOnce(&mut Hart)) {
        let mut registers = self.hart(hart);
        change(&mut registers);
        self.change_state(hart, |state| {
            state["hart"] = serde_json::to_value(&registers).expect("JSON");
        })
        .expect("restored");
    }

    /// Changes the saved state of a hart, as whoever edits a snapshot could.
    pub fn change_state(
        &mut self,
        hart: usize,
        change: impl FnOnce(&mut serde_json::Value),
    ) -> Result<(), clade_engine::EngineError> {
        let mut state = self.state(hart);
        assert_eq!(state.arch, Arch::Riscv64);
        let mut value = serde_json::from_slice(&state.registers).expect("JSON");
        change(&mut value);
        state.registers = serde_json::to_vec(&value).expect("JSON");
        self.vcpus[hart].restore(&state)
    }
}

struct FinishOnPanic<'a>(&'a Board);

impl Drop for FinishOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.finish();
        }
    }
}

fn run_until_finished(vcpu: &mut dyn Vcpu, board: &Board) -> Exit {
    loop {
        let exit = vcpu.run().expect("the engine runs");
        if exit != Exit::Kicked {
            board.finish();
            return exit;
        }
        while board.held.load(SeqCst) && !board.finished() {
            thread::yield_now();
        }
        if board.finished() {
            return exit;
        }
    }
}
