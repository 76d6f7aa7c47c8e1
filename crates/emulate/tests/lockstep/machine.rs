//! A machine of one hart that does the same every time: nothing in it depends on real time.

use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};

use clade_emulate::{Boot, Clint, Emulator, EmulatorConfig, Stats, Stepper, Tuning};
use clade_engine::{Clock, Engine, GuestRam, IoBus, IoDevice, Unmapped};
use clade_riscv::hart::Hart;
use vm_memory::{Bytes, GuestAddress};

/// Where memory and the program begin.
pub(crate) const BASE: u64 = 0x8000_0000;
/// Size of memory in bytes.
pub(crate) const RAM_SIZE: u64 = 1 << 20;
/// A store to either ends the program: those of the oracle's programs, and of the directed tests'.
const FINISHERS: [u64; 2] = [0x7000_0000, 0x10_0000];
const CLINT: u64 = 0x200_0000;
const CLINT_END: u64 = CLINT + Clint::SIZE;
/// A store lets that many nanoseconds pass. Nobody tells the hart.
pub(crate) const TIME: u64 = 0x400_0000;
/// Stores are logged; loads are logged and give 0xa5 in every byte.
pub(crate) const LOG: u64 = 0x500_0000;
const LOG_END: u64 = LOG + 0x1000;

/// An access to [`LOG`]: offset, size, and the value of a store.
type Access = (u64, usize, Option<u64>);

#[derive(Default)]
struct Board {
    clint: OnceLock<Arc<Clint>>,
    now_ns: AtomicU64,
    done: AtomicBool,
    log: Mutex<Vec<Access>>,
}

impl Board {
    fn note(&self, address: u64, size: usize, value: Option<u64>) {
        let mut log = self.log.lock().expect("nobody panics with the log");
        log.push((address - LOG, size, value));
    }
}

impl IoBus for Board {
    fn read(&self, address: u64, data: &mut [u8]) -> Result<(), Unmapped> {
        match address {
            CLINT..CLINT_END => {
                let clint = self.clint.get().ok_or(Unmapped { address })?;
                clint.read(address - CLINT, data);
            }
            LOG..LOG_END => {
                data.fill(0xa5);
                self.note(address, data.len(), None);
            }
            _ => return Err(Unmapped { address }),
        }
        Ok(())
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), Unmapped> {
        let mut bytes = [0; 8];
        bytes[..data.len()].copy_from_slice(data);
        let value = u64::from_le_bytes(bytes);
        match address {
            CLINT..CLINT_END => {
                let clint = self.clint.get().ok_or(Unmapped { address })?;
                clint.write(address - CLINT, data);
            }
            TIME => {
                self.now_ns.fetch_add(value, Relaxed);
            }
            LOG..LOG_END => self.note(address, data.len(), Some(value)),
            _ if FINISHERS.contains(&address) => self.done.store(true, Relaxed),
            _ => return Err(Unmapped { address }),
        }
        Ok(())
    }
}

impl Clock for Board {
    fn monotonic_ns(&self) -> u64 {
        self.now_ns.load(Relaxed)
    }

    fn wall_ns(&self) -> u64 {
        self.monotonic_ns()
    }
}

/// One hart in M-mode at the beginning of a program.
pub(crate) struct Machine {
    board: Arc<Board>,
    pub(crate) ram: Arc<GuestRam>,
    emulator: Emulator,
    stepper: Stepper,
}

impl Machine {
    /// With `image` from [`BASE`] on.
    pub(crate) fn new(image: &[u8], tuning: Tuning) -> Self {
        Self::inheriting(image, tuning, None)
    }

    /// The same with translations of another.
    pub(crate) fn inheriting(image: &[u8], tuning: Tuning, code_cache: Option<File>) -> Self {
        let ram = GuestRam::from_ranges(&[(GuestAddress(BASE), RAM_SIZE as usize)]);
        let ram = Arc::new(ram.expect("memory"));
        ram.write_slice(image, GuestAddress(BASE)).expect("image");
        let board = Arc::new(Board::default());
        let emulator = Emulator::new(EmulatorConfig {
            harts: 1,
            ram: ram.clone(),
            bus: board.clone(),
            clock: board.clone(),
            boot: Boot::Machine {
                entry: BASE,
                device_tree: 0,
                information: 0,
            },
            imsic: false,
            tuning,
            code_cache,
        });
        let _ = board.clint.set(emulator.clint());
        let stepper = emulator.create_stepper(0).expect("a hart");
        Self {
            board,
            ram,
            emulator,
            stepper,
        }
    }

    /// What it has translated, if it has.
    pub(crate) fn code_cache(&self) -> Option<File> {
        let file = tempfile::tempfile().expect("a file");
        let saved = self.emulator.save_code_cache(&file, true);
        saved.expect("a file that can be written").then_some(file)
    }

    /// Pages whose translations it has inherited and looked for.
    pub(crate) fn pages_inherited(&self) -> u64 {
        self.emulator.stats().pages_inherited
    }

    pub(crate) fn hart(&self) -> &Hart {
        self.stepper.hart()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.stepper.stats()
    }

    /// Lets `ns` pass, then executes `instructions` instructions and exceptions together.
    pub(crate) fn advance(&mut self, ns: u64, instructions: u64) {
        self.board.now_ns.fetch_add(ns, Relaxed);
        let exit = self.stepper.advance(instructions);
        assert_eq!(exit, None, "nobody asks for an exit");
    }

    /// Executes one instruction, by the interpreter.
    pub(crate) fn step(&mut self) {
        let exit = self.stepper.step();
        assert_eq!(exit, None, "nobody asks for an exit");
    }

    /// Lets `ns` pass.
    pub(crate) fn pass(&mut self, ns: u64) {
        self.board.now_ns.fetch_add(ns, Relaxed);
    }

    /// Whether the program has come to its end.
    pub(crate) fn is_done(&self) -> bool {
        self.board.done.load(Relaxed)
    }

    /// All of memory.
    pub(crate) fn memory(&self) -> Vec<u8> {
        let mut bytes = vec![0; RAM_SIZE as usize];
        let read = self.ram.read_slice(&mut bytes, GuestAddress(BASE));
        read.expect("RAM");
        bytes
    }

    /// What was done to the device at [`LOG`].
    pub(crate) fn log(&self) -> Vec<Access> {
        let log = self.board.log.lock();
        log.expect("nobody panics with the log").clone()
    }
}
