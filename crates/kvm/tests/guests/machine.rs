//! Machines with nothing but memory, vCPUs and a device that records what it is asked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use clade_engine::{Engine, Exit, GuestRam, IoBus, Unmapped, Vcpu};
use clade_kvm::{CpuModel, Device, Gdt, Kvm, KvmConfig, Start, examine_device};
use iced_x86::IcedError;
use iced_x86::code_asm::{CodeAssembler, dword_ptr};
use vm_memory::{Bytes, GuestAddress};

/// Guest RAM begins at 0 and is this big.
pub(crate) const RAM: u64 = 2 << 20;
/// Where programs are put and begin.
pub(crate) const CODE: u64 = 0x1000;
/// Where a long-mode program's stack begins, downwards.
pub(crate) const STACK: u64 = 0x8_0000;
const GDT: u64 = 0x500;
const PAGE_TABLES: u64 = 0x9000;
/// Addresses from here are nobody's memory: the device answers.
pub(crate) const MMIO: u64 = 0x1000_0000;
/// How long a guest may take; interpreted ones are slow.
const PATIENCE: Duration = Duration::from_secs(20);

/// One access of the guest's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Access {
    Read(u64, usize),
    Write(u64, Vec<u8>),
}

/// Answers every access and tells of it.
#[derive(Default)]
pub(crate) struct Recorder {
    accesses: Mutex<Vec<Access>>,
    /// Reads return consecutive bytes.
    next: Mutex<u8>,
}

impl Recorder {
    fn record(&self, access: Access) {
        let mut accesses = self.accesses.lock().unwrap_or_else(PoisonError::into_inner);
        accesses.push(access);
    }

    pub(crate) fn accesses(&self) -> Vec<Access> {
        let accesses = self.accesses.lock().unwrap_or_else(PoisonError::into_inner);
        accesses.clone()
    }
}

/// Nothing answers from here on.
pub(crate) const NOBODY: u64 = 0xf000;

impl IoBus for Recorder {
    fn read(&self, address: u64, data: &mut [u8]) -> Result<(), Unmapped> {
        if address & 0xffff >= NOBODY {
            return Err(Unmapped { address });
        }
        self.record(Access::Read(address, data.len()));
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        for byte in data {
            *next += 1;
            *byte = *next;
        }
        Ok(())
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), Unmapped> {
        self.record(Access::Write(address, data.to_vec()));
        Ok(())
    }
}

/// A machine whose vCPUs nobody runs yet.
pub(crate) struct Machine {
    pub(crate) ram: Arc<GuestRam>,
    pub(crate) memory: Arc<Recorder>,
    pub(crate) ports: Arc<Recorder>,
    pub(crate) engine: Kvm,
}

/// Opens KVM, or says that the test is skipped.
pub(crate) fn device() -> Option<Device> {
    match Device::open() {
        Ok(device) => Some(device),
        Err(error) => {
            eprintln!("SKIPPED: {error}");
            None
        }
    }
}

/// Opens a KVM that runs its guests on the processor, or says that the test is skipped.
pub(crate) fn real_device() -> Option<Device> {
    let device = device()?;
    match examine_device(&device) {
        verdict if verdict.is_real() => Some(device),
        verdict => {
            eprintln!("SKIPPED: this host's KVM is {verdict}");
            None
        }
    }
}

/// A real-mode program's beginning: the reset vector is beyond RAM, so the first vCPU starts in
/// protected mode, and 16-bit code is for vCPUs that are started by it.
pub(crate) fn protected() -> Start {
    Start::Protected {
        entry: CODE as u32,
        ebx: 0x1234_5678,
        gdt: Gdt {
            base: GDT,
            limit: 31,
        },
    }
}

/// 64-bit mode, the first 4 GiB mapped to itself.
pub(crate) fn long() -> Start {
    Start::Long {
        entry: CODE,
        rsi: 0x8765_4321,
        rsp: STACK,
        page_table: PAGE_TABLES,
        gdt: Gdt {
            base: GDT,
            limit: 31,
        },
    }
}

/// RAM with descriptor tables and page tables.
fn ram() -> Arc<GuestRam> {
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), RAM as usize)]).expect("memory");
    let put = |value: u64, address| ram.write_obj(value, GuestAddress(address)).expect("RAM");
    // Present, writable, user; the last level has 2 MiB pages.
    put((PAGE_TABLES + 0x1000) | 7, PAGE_TABLES);
    for gib in 0..4 {
        put(
            (PAGE_TABLES + 0x2000 + gib * 0x1000) | 7,
            PAGE_TABLES + 0x1000 + gib * 8,
        );
    }
    for index in 0..4 * 512 {
        put((index << 21) | 0x87, PAGE_TABLES + 0x2000 + index * 8);
    }
    Arc::new(ram)
}

impl Machine {
    /// A machine with `program` in memory.
    pub(crate) fn new(device: &Device, cpus: u32, start: Start, program: &[u8]) -> Self {
        let ram = ram();
        let descriptors = match start {
            Start::Long { .. } => Gdt::LONG,
            _ => Gdt::PROTECTED,
        };
        for (index, descriptor) in (0..).zip(descriptors) {
            ram.write_obj(descriptor, GuestAddress(GDT + index * 8))
                .expect("RAM");
        }
        ram.write_slice(program, GuestAddress(CODE)).expect("RAM");
        Self::over(device, cpus, start, ram)
    }

    /// A machine over memory that was prepared.
    pub(crate) fn over(device: &Device, cpus: u32, start: Start, ram: Arc<GuestRam>) -> Self {
        let memory = Arc::new(Recorder::default());
        let ports = Arc::new(Recorder::default());
        let config = KvmConfig {
            cpus,
            ram: ram.clone(),
            memory: memory.clone(),
            ports: ports.clone(),
            cpu: CpuModel::Host,
            start,
        };
        let engine = Kvm::new(device, config).expect("a machine");
        Self {
            ram,
            memory,
            ports,
            engine,
        }
    }

    pub(crate) fn vcpu(&self, index: u32) -> Box<dyn Vcpu> {
        self.engine.create_vcpu(index).expect("a vCPU")
    }
}

/// Assembles 64-bit code that begins at [`CODE`].
pub(crate) fn assemble(write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Vec<u8> {
    assemble_for(64, CODE, write)
}

/// Assembles code of `bits` that begins at `origin`.
pub(crate) fn assemble_for(
    bits: u32,
    origin: u64,
    write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
) -> Vec<u8> {
    let mut assembler = CodeAssembler::new(bits).expect("a bitness");
    write(&mut assembler).expect("valid instructions");
    assembler.assemble(origin).expect("valid code")
}

/// Where a program says that it is done.
pub(crate) const DONE: u64 = 0x2000;
/// Where a program puts what the test looks at.
pub(crate) const RESULTS: u64 = 0x3000;

/// The end of a program: says that it is done, and halts for good.
pub(crate) fn finish(a: &mut CodeAssembler) -> Result<(), IcedError> {
    let mut halt = a.create_label();
    a.mov(dword_ptr(DONE), 1)?;
    a.cli()?;
    a.set_label(&mut halt)?;
    a.hlt()?;
    a.jmp(halt)
}

impl Machine {
    /// Runs a vCPU until its program is done, and kicks it then.
    pub(crate) fn run_to_end(&self, vcpu: Box<dyn Vcpu>) -> Box<dyn Vcpu> {
        let running = run(vcpu);
        until("the program's end", || {
            self.is_done() || running.has_exited()
        });
        let (vcpu, exit) = running.kick();
        assert_eq!(exit, Exit::Kicked);
        vcpu
    }

    pub(crate) fn is_done(&self) -> bool {
        self.word(DONE) as u32 == 1
    }

    /// Eight bytes of memory.
    pub(crate) fn word(&self, address: u64) -> u64 {
        self.ram.read_obj(GuestAddress(address)).expect("RAM")
    }

    /// The words that the program left in [`RESULTS`].
    pub(crate) fn results(&self, count: u64) -> Vec<u64> {
        (0..count)
            .map(|index| self.word(RESULTS + index * 8))
            .collect()
    }
}

/// A vCPU that runs on a thread of its own until it exits.
pub(crate) struct Running {
    result: Receiver<(Box<dyn Vcpu>, Exit)>,
    exited: Arc<AtomicBool>,
    handle: Arc<dyn clade_engine::VcpuHandle>,
}

/// Runs a vCPU.
pub(crate) fn run(mut vcpu: Box<dyn Vcpu>) -> Running {
    let (sender, result) = channel();
    let handle = vcpu.handle();
    let exited = Arc::new(AtomicBool::new(false));
    let over = exited.clone();
    thread::spawn(move || {
        let exit = vcpu.run();
        over.store(true, Ordering::SeqCst);
        let exit = exit.expect("the vCPU goes on");
        let _ = sender.send((vcpu, exit));
    });
    Running {
        result,
        exited,
        handle,
    }
}

impl Running {
    fn has_exited(&self) -> bool {
        self.exited.load(Ordering::SeqCst)
    }

    /// Kicks the vCPU and waits for it.
    pub(crate) fn kick(self) -> (Box<dyn Vcpu>, Exit) {
        self.handle.kick();
        self.wait()
    }

    /// Waits for the vCPU to exit by itself.
    pub(crate) fn wait(self) -> (Box<dyn Vcpu>, Exit) {
        self.result.recv_timeout(PATIENCE).expect("it exits")
    }
}

/// Waits until `condition` holds.
pub(crate) fn until(what: &str, condition: impl Fn() -> bool) {
    let steps = PATIENCE.as_millis() / 5;
    for _ in 0..steps {
        if condition() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("{what} did not happen in {PATIENCE:?}");
}
