//! Interrupts, and vCPUs that start each other.

use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use clade_engine::{Doorbells, Engine, Exit, IoBus, IrqLine, MsiSink, Unmapped};
use clade_kvm::{CpuModel, Kvm, KvmConfig, Start};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use vm_memory::{Bytes, GuestAddress};

use crate::machine::{
    DONE, Machine, RESULTS, assemble, assemble_for, device, finish, long, ram, run, until,
};

const IDT: u64 = 0x5000;
/// The interrupt vector that all these tests use.
pub(crate) const VECTOR: u32 = 0x40;
pub(crate) const LOCAL_APIC: u64 = 0xfee0_0000;
const IO_APIC: u64 = 0xfec0_0000;

/// Sets up the vector's gate to `handler`, switches the local APIC on, and interrupts too.
pub(crate) fn set_up(a: &mut CodeAssembler, handler: CodeLabel) -> Result<(), IcedError> {
    let gate = IDT + u64::from(VECTOR) * 16;
    a.lea(rax, qword_ptr(handler))?;
    a.mov(word_ptr(gate), ax)?;
    a.mov(word_ptr(gate + 2), 0x10)?;
    a.mov(word_ptr(gate + 4), 0x8e00)?;
    a.mov(word_ptr(gate + 6), 0)?;
    a.lidt(ptr(0x4110))?;
    // Nothing by way of the 8259s.
    a.mov(al, 0xff)?;
    a.out(0x21, al)?;
    a.out(0xa1, al)?;
    a.mov(rbx, LOCAL_APIC)?;
    // The spurious interrupt register, with the bit that enables the APIC.
    a.mov(dword_ptr(rbx + 0xf0), 0x1ff)?;
    a.sti()
}

/// Counts in [`RESULTS`] and ends the interrupt.
pub(crate) fn handler(a: &mut CodeAssembler, label: &mut CodeLabel) -> Result<(), IcedError> {
    a.set_label(label)?;
    a.inc(qword_ptr(RESULTS))?;
    a.mov(dword_ptr(rbx + 0xb0), 0)?;
    a.iretq()
}

/// Sleeps until `count` interrupts have come.
pub(crate) fn wait_for(a: &mut CodeAssembler, count: i32) -> Result<(), IcedError> {
    let mut again = a.create_label();
    let mut done = a.create_label();
    a.set_label(&mut again)?;
    // None is to come between the look and the sleep; `sti` lets them in after the next instruction.
    a.cli()?;
    a.cmp(qword_ptr(RESULTS), count)?;
    a.jae(done)?;
    a.sti()?;
    a.hlt()?;
    a.jmp(again)?;
    a.set_label(&mut done)
}

pub(crate) fn with_idt(machine: &Machine) {
    (machine.ram)
        .write_obj(IDT << 16 | 0xfff, GuestAddress(0x4110))
        .expect("RAM");
}

#[test]
fn the_timer_of_the_local_apic() {
    let Some(device) = device() else { return };
    let program = assemble(|a| {
        let mut interrupt = a.create_label();
        set_up(a, interrupt)?;
        // Periodic, divided by one.
        a.mov(dword_ptr(rbx + 0x3e0), 0xb)?;
        a.mov(dword_ptr(rbx + 0x320), 0x2_0000 | VECTOR)?;
        a.mov(dword_ptr(rbx + 0x380), 2_000_000)?;
        wait_for(a, 5)?;
        finish(a)?;
        handler(a, &mut interrupt)
    });
    let machine = Machine::new(&device, 1, long(), &program);
    with_idt(&machine);
    machine.run_to_end(machine.vcpu(0));
    assert!(machine.word(RESULTS) >= 5);
}

#[test]
fn a_deadline_of_the_time_stamp_counter() {
    let Some(device) = device() else { return };
    let program = assemble(|a| {
        let mut interrupt = a.create_label();
        set_up(a, interrupt)?;
        a.mov(dword_ptr(rbx + 0x320), 0x4_0000 | VECTOR)?;
        a.rdtsc()?;
        a.add(eax, 2_000_000)?;
        a.adc(edx, 0)?;
        a.mov(ecx, 0x6e0)?;
        a.wrmsr()?;
        wait_for(a, 1)?;
        finish(a)?;
        handler(a, &mut interrupt)
    });
    let machine = Machine::new(&device, 1, long(), &program);
    with_idt(&machine);
    machine.run_to_end(machine.vcpu(0));
    assert_eq!(machine.results(1), [1]);
}

/// A program that waits for `count` interrupts.
fn waiting(
    count: i32,
    prepare: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
) -> Vec<u8> {
    assemble(|a| {
        let mut interrupt = a.create_label();
        set_up(a, interrupt)?;
        prepare(a)?;
        a.mov(dword_ptr(DONE + 8), 1)?;
        wait_for(a, count)?;
        finish(a)?;
        handler(a, &mut interrupt)
    })
}

#[test]
fn wires_lead_to_the_io_apic() {
    let Some(device) = device() else { return };
    // Input 5, edge-triggered.
    let program = waiting(3, |a| {
        a.mov(rdx, IO_APIC)?;
        a.mov(dword_ptr(rdx), 0x10 + 2 * 5)?;
        a.mov(dword_ptr(rdx + 0x10), VECTOR)
    });
    let machine = Machine::new(&device, 1, long(), &program);
    with_idt(&machine);
    let wire = machine.engine.irq_line(5).expect("an input");
    assert!(machine.engine.irq_line(24).is_none());
    let running = run(machine.vcpu(0));
    until("the program's wait", || machine.word(DONE + 8) == 1);
    for count in 1..=3 {
        wire.set_level(true);
        until("an interrupt", || machine.word(RESULTS) == count);
        wire.set_level(false);
    }
    until("the program's end", || machine.is_done());
    assert_eq!(running.kick().1, Exit::Kicked);
}

#[test]
fn messages_lead_to_local_apics() {
    let Some(device) = device() else { return };
    let program = waiting(2, |_| Ok(()));
    let machine = Machine::new(&device, 1, long(), &program);
    with_idt(&machine);
    let messages = machine.engine.msi();
    let running = run(machine.vcpu(0));
    until("the program's wait", || machine.word(DONE + 8) == 1);
    // To memory, to no APIC at all, to the I/O APIC: lost.
    messages.signal(RESULTS, 7);
    messages.signal(0x1_fee0_0000, VECTOR);
    messages.signal(LOCAL_APIC | 0x7f << 12, VECTOR);
    messages.signal(IO_APIC, VECTOR);
    thread::sleep(Duration::from_millis(20));
    assert_eq!(machine.word(RESULTS), 0);
    for count in 1..=2 {
        messages.signal(LOCAL_APIC, VECTOR);
        until("an interrupt", || machine.word(RESULTS) == count);
    }
    until("the program's end", || machine.is_done());
    assert_eq!(running.kick().1, Exit::Kicked);
}

#[test]
fn vcpus_start_each_other() {
    let Some(device) = device() else { return };
    const CPUS: u32 = 3;
    // Real mode, at the address that the startup message names.
    let other = assemble_for(16, 0x8000, |a| {
        a.xor(ax, ax)?;
        a.mov(ds, ax)?;
        a.lock().inc(word_ptr(RESULTS as u32))?;
        a.mov(eax, cr0)?;
        a.mov(dword_ptr((RESULTS + 8) as u32), eax)?;
        a.hlt()
    });
    let program = assemble(|a| {
        let mut again = a.create_label();
        a.mov(rbx, LOCAL_APIC)?;
        a.mov(dword_ptr(rbx + 0xf0), 0x1ff)?;
        // INIT, then SIPI, to all but itself.
        a.mov(dword_ptr(rbx + 0x300), 0xc_4500)?;
        a.mov(dword_ptr(rbx + 0x300), 0xc_4608)?;
        a.set_label(&mut again)?;
        a.pause()?;
        a.cmp(word_ptr(RESULTS), CPUS - 1)?;
        a.jne(again)?;
        finish(a)
    });
    let machine = Machine::new(&device, CPUS, long(), &program);
    (machine.ram)
        .write_slice(&other, GuestAddress(0x8000))
        .expect("RAM");
    let others = [run(machine.vcpu(1)), run(machine.vcpu(2))];
    thread::sleep(Duration::from_millis(20));
    assert_eq!(machine.word(RESULTS), 0, "they wait to be started");
    machine.run_to_end(machine.vcpu(0));
    assert_eq!(machine.word(RESULTS + 8) as u32 & 0x8000_0001, 0);
    for other in others {
        assert_eq!(other.kick().1, Exit::Kicked);
    }
}

/// Devices hold what they interrupt by, and are on the bus that the engine holds.
#[test]
fn a_machine_goes_with_all_its_devices() {
    type Given = (
        Arc<dyn IrqLine>,
        Arc<dyn MsiSink>,
        Option<Arc<dyn Doorbells>>,
    );
    struct Interrupting(OnceLock<Given>);

    impl IoBus for Interrupting {
        fn read(&self, address: u64, _: &mut [u8]) -> Result<(), Unmapped> {
            Err(Unmapped { address })
        }

        fn write(&self, address: u64, _: &[u8]) -> Result<(), Unmapped> {
            Err(Unmapped { address })
        }
    }

    let Some(device) = device() else { return };
    let bus = Arc::new(Interrupting(OnceLock::new()));
    let ram = ram();
    let remaining = (Arc::downgrade(&bus), Arc::downgrade(&ram));
    let config = KvmConfig {
        cpus: 1,
        ram,
        memory: bus.clone(),
        ports: bus.clone(),
        cpu: CpuModel::Host,
        start: Start::Reset,
    };
    let engine = Kvm::new(&device, config).expect("a machine");
    let wire = engine.irq_line(5).expect("an input of the I/O APIC");
    let given = (wire, engine.msi(), engine.doorbells());
    assert!(bus.0.set(given).is_ok());
    let vcpu = engine.create_vcpu(0).expect("a vCPU");
    drop((vcpu, bus, engine));
    assert!(remaining.0.upgrade().is_none(), "the devices");
    assert!(remaining.1.upgrade().is_none(), "the memory");
}
