//! Machines with nothing but memory, vCPUs and a device that records what it is asked.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use clade_engine::{Engine, Exit, GuestRam, IoBus, Unmapped, Vcpu, VcpuHandle, VcpuState};
use clade_kvm::{CpuModel, Device, Gdt, Kvm, KvmConfig, Start, examine_device};
use iced_x86::IcedError;
use iced_x86::code_asm::{CodeAssembler, dword_ptr};
use rustix::mm::Advice;
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

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
    /// Kicked within the access of this number.
    kick: Mutex<Option<(usize, Arc<dyn VcpuHandle>)>>,
}

impl Recorder {
    fn record(&self, access: Access) {
        let mut accesses = lock(&self.accesses);
        if let Some((number, vcpu)) = &*lock(&self.kick)
            && accesses.len() == *number
        {
            vcpu.kick();
        }
        accesses.push(access);
    }

    /// All accesses up to now.
    pub(crate) fn accesses(&self) -> Vec<Access> {
        lock(&self.accesses).clone()
    }

    /// Kicks `vcpu` while the access of this number is answered.
    pub(crate) fn kick_in_access(&self, number: usize, vcpu: &dyn Vcpu) {
        *lock(&self.kick) = Some((number, vcpu.handle()));
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
        let mut next = lock(&self.next);
        for byte in data {
            *next = next.wrapping_add(1);
            *byte = *next;
        }
        Ok(())
    }

    fn write(&self, address: u64, data: &[u8]) -> Result<(), Unmapped> {
        self.record(Access::Write(address, data.to_vec()));
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
pub(crate) fn ram() -> Arc<GuestRam> {
    let ram = GuestRam::from_ranges(&[(GuestAddress(0), RAM as usize)]).expect("memory");
    let host = ram.get_host_address(GuestAddress(0)).expect("RAM");
    // One page written is to be one page that the host gives.
    // SAFETY: the range is that of the mapping; the advice changes no contents.
    unsafe { rustix::mm::madvise(host.cast(), RAM as usize, Advice::LinuxNoHugepage) }
        .unwrap_or_else(|error| eprintln!("huge pages stay: {error}"));
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
        let devices = [(); 2].map(|()| Arc::new(Recorder::default()));
        Self::over(device, cpus, CpuModel::Host, start, ram, devices)
    }

    /// A machine over memory and devices that were prepared.
    pub(crate) fn over(
        device: &Device,
        cpus: u32,
        cpu: CpuModel,
        start: Start,
        ram: Arc<GuestRam>,
        [memory, ports]: [Arc<Recorder>; 2],
    ) -> Self {
        let config = KvmConfig {
            cpus,
            ram: ram.clone(),
            memory: memory.clone(),
            ports: ports.clone(),
            cpu,
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

    /// The same machine once more, with a copy of its memory, the same devices, and the state of
    /// `vcpus`.
    pub(crate) fn moved(
        &self,
        device: &Device,
        vcpus: &[Box<dyn Vcpu>],
    ) -> (Self, Vec<Box<dyn Vcpu>>) {
        let chips = self.engine.save_chips().expect("state");
        let states = vcpus.iter().map(|vcpu| vcpu.save().expect("state"));
        let states: Vec<_> = states.collect();
        let ram = ram();
        let mut bytes = vec![0; RAM as usize];
        self.ram
            .read_slice(&mut bytes, GuestAddress(0))
            .expect("RAM");
        ram.write_slice(&bytes, GuestAddress(0)).expect("RAM");
        let count = states.len() as u32;
        let devices = [self.memory.clone(), self.ports.clone()];
        // Where it begins does not count: it goes on.
        let moved = Self::over(device, count, CpuModel::Host, Start::Reset, ram, devices);
        moved.engine.restore_chips(&chips).expect("chips");
        let vcpus = (0..count).zip(&states).map(|(index, state)| {
            let mut vcpu = moved.vcpu(index);
            vcpu.restore(state).expect("a vCPU");
            let lost = differences(&vcpu.save().expect("state"), state);
            assert!(lost.is_empty(), "nothing is lost: {lost:?}");
            vcpu
        });
        let vcpus = vcpus.collect();
        moved.engine.start_clock().expect("time");
        (moved, vcpus)
    }

    pub(crate) fn vcpu(&self, index: u32) -> Box<dyn Vcpu> {
        self.engine.create_vcpu(index).expect("a vCPU")
    }
}

/// The parts in which two states of a vCPU differ, with what each has there. The local APIC's processor
/// priority does not count: it follows from the rest, and KVM computes it when it is next needed.
fn differences(one: &VcpuState, other: &VcpuState) -> Vec<(String, Vec<String>)> {
    let [one, other] = [one, other].map(|state| {
        let parts: serde_json::Value = serde_json::from_slice(&state.registers).expect("JSON");
        parts
    });
    let parts = one.as_object().expect("parts").iter();
    parts
        .filter(|(name, part)| other[name.as_str()] != **part)
        .map(|(name, part)| {
            let theirs = &other[name.as_str()];
            let items = part.as_array().map_or(0, Vec::len);
            let derived = |item| name == "lapic" && PROCESSOR_PRIORITY.contains(&item);
            let differing = (0..items).filter(|item| part[item] != theirs[item] && !derived(*item));
            let told = differing.map(|item| format!("{item}: {} {}", part[item], theirs[item]));
            (name.clone(), told.collect::<Vec<_>>())
        })
        .filter(|(name, told)| name != "lapic" || !told.is_empty())
        .collect()
}

/// Where a local APIC has its processor priority.
const PROCESSOR_PRIORITY: std::ops::Range<usize> = 0xa0..0xa4;

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
    handle: Arc<dyn VcpuHandle>,
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
