//! The modes that a vCPU begins in, and how it ends.

use clade_engine::{Exit, SystemEvent};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use vm_memory::{Bytes, GuestAddress};

use crate::machine::{
    CODE, Machine, RESULTS, STACK, assemble, assemble_for, device, finish, long, protected,
    real_device, run,
};

#[test]
fn protected_mode_is_flat_and_paging_is_off() {
    let Some(device) = device() else { return };
    let program = assemble_for(32, CODE, |a| {
        a.mov(dword_ptr(RESULTS), ebx)?;
        a.mov(eax, cr0)?;
        a.mov(dword_ptr(RESULTS + 8), eax)?;
        // From the table.
        a.mov(eax, 0x18)?;
        a.mov(ds, eax)?;
        a.mov(eax, cs)?;
        a.mov(dword_ptr(RESULTS + 16), eax)?;
        finish(a)
    });
    let machine = Machine::new(&device, 1, protected(), &program);
    machine.run_to_end(machine.vcpu(0));
    assert_eq!(machine.results(3), [0x1234_5678, 0x31, 0x10]);
}

/// The descriptors of a kernel that has a user: code and data of both, and a task state segment.
const DESCRIPTORS: u64 = 0x4000;
const TASK_STATE: u64 = 0x6000;
const IDT: u64 = 0x5000;

fn put_descriptors(machine: &Machine) {
    let put = |value: u64, address| {
        let put = machine.ram.write_obj(value, GuestAddress(address));
        put.expect("RAM");
    };
    put(0x00af_9b00_0000_ffff, DESCRIPTORS + 0x10);
    put(0x00cf_9300_0000_ffff, DESCRIPTORS + 0x18);
    put(0x00cf_f300_0000_ffff, DESCRIPTORS + 0x20);
    put(0x00af_fb00_0000_ffff, DESCRIPTORS + 0x28);
    put(0x0000_8900_0000_0067 | TASK_STATE << 16, DESCRIPTORS + 0x30);
    put(STACK, TASK_STATE + 4);
    put(DESCRIPTORS << 16 | 0x3f, 0x4100);
    put(IDT << 16 | 0xfff, 0x4110);
}

/// Loads the descriptors and sets the gate of general protection faults.
fn set_up_rings(a: &mut CodeAssembler, fault: CodeLabel) -> Result<(), IcedError> {
    a.lgdt(ptr(0x4100))?;
    a.mov(eax, 0x30)?;
    a.ltr(ax)?;
    a.lea(rax, qword_ptr(fault))?;
    a.mov(word_ptr(IDT + 13 * 16), ax)?;
    a.mov(word_ptr(IDT + 13 * 16 + 2), 0x10)?;
    a.mov(word_ptr(IDT + 13 * 16 + 4), 0x8e00)?;
    a.lidt(ptr(0x4110))
}

/// Keeps what the fault interrupted, and does what only ring 0 may.
fn keep_fault(a: &mut CodeAssembler, fault: &mut CodeLabel) -> Result<(), IcedError> {
    a.set_label(fault)?;
    a.mov(rdx, cr0)?;
    a.mov(rax, qword_ptr(rsp + 16))?;
    a.mov(qword_ptr(RESULTS), rax)?;
    finish(a)
}

#[test]
fn long_mode_in_rings_0_and_3() {
    let Some(device) = device() else { return };
    let program = assemble(|a| {
        let mut user = a.create_label();
        let mut fault = a.create_label();
        a.mov(qword_ptr(RESULTS + 8), rsi)?;
        set_up_rings(a, fault)?;
        a.push(0x23)?;
        a.mov(eax, (STACK - 0x1000) as u32)?;
        a.push(rax)?;
        a.push(2)?;
        a.push(0x2b)?;
        a.lea(rax, qword_ptr(user))?;
        a.push(rax)?;
        a.iretq()?;
        a.set_label(&mut user)?;
        a.inc(dword_ptr(RESULTS + 16))?;
        // A user may not.
        a.mov(rax, cr0)?;
        keep_fault(a, &mut fault)
    });
    let machine = Machine::new(&device, 1, long(), &program);
    put_descriptors(&machine);
    machine.run_to_end(machine.vcpu(0));
    assert_eq!(machine.results(3), [0x2b, 0x8765_4321, 1]);
}

#[test]
fn system_calls() {
    let Some(device) = real_device() else { return };
    const EFER: u32 = 0xc000_0080;
    const STAR: u32 = 0xc000_0081;
    const LSTAR: u32 = 0xc000_0082;
    let program = assemble(|a| {
        let mut user = a.create_label();
        let mut system_call = a.create_label();
        let mut fault = a.create_label();
        set_up_rings(a, fault)?;
        a.mov(ecx, EFER)?;
        a.rdmsr()?;
        a.or(eax, 1)?;
        a.wrmsr()?;
        a.mov(ecx, LSTAR)?;
        a.lea(rax, qword_ptr(system_call))?;
        a.xor(edx, edx)?;
        a.wrmsr()?;
        a.mov(ecx, STAR)?;
        a.xor(eax, eax)?;
        a.mov(edx, 0x0018_0010)?;
        a.wrmsr()?;
        a.lea(rcx, qword_ptr(user))?;
        a.mov(r11d, 2)?;
        a.sysretq()?;

        a.set_label(&mut user)?;
        a.mov(eax, 0x77)?;
        a.syscall()?;
        a.inc(dword_ptr(RESULTS + 16))?;
        a.mov(rax, cr0)?;

        a.set_label(&mut system_call)?;
        a.mov(qword_ptr(RESULTS + 8), rax)?;
        a.mov(rdx, cr0)?;
        a.sysretq()?;
        keep_fault(a, &mut fault)
    });
    let machine = Machine::new(&device, 1, long(), &program);
    put_descriptors(&machine);
    machine.run_to_end(machine.vcpu(0));
    assert_eq!(machine.results(3), [0x2b, 0x77, 1]);
}

#[test]
fn a_halted_guest_sleeps_until_it_is_kicked() {
    let Some(device) = device() else { return };
    let machine = Machine::new(&device, 1, long(), &assemble(finish));
    let mut vcpu = machine.run_to_end(machine.vcpu(0));
    // And again, without having done anything in between.
    for _ in 0..3 {
        let running = run(vcpu);
        std::thread::sleep(std::time::Duration::from_millis(20));
        let exit;
        (vcpu, exit) = running.kick();
        assert_eq!(exit, Exit::Kicked);
    }
}

#[test]
fn a_kick_before_it_runs_counts_once() {
    let Some(device) = device() else { return };
    let machine = Machine::new(&device, 1, long(), &assemble(finish));
    let mut vcpu = machine.vcpu(0);
    vcpu.handle().kick();
    vcpu.handle().kick();
    assert_eq!(vcpu.run().expect("it runs"), Exit::Kicked);
    assert!(!machine.is_done());
    machine.run_to_end(vcpu);
}

#[test]
fn a_busy_guest_can_be_kicked() {
    let Some(device) = device() else { return };
    let program = assemble(|a| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.inc(qword_ptr(RESULTS))?;
        a.jmp(again)
    });
    let machine = Machine::new(&device, 1, long(), &program);
    let mut vcpu = machine.vcpu(0);
    let mut seen = 0;
    for _ in 0..20 {
        let running = run(vcpu);
        crate::machine::until("progress", || machine.word(RESULTS) > seen);
        let exit;
        (vcpu, exit) = running.kick();
        assert_eq!(exit, Exit::Kicked);
        seen = machine.word(RESULTS);
    }
}

#[test]
fn a_triple_fault_resets_the_machine() {
    let Some(device) = device() else { return };
    let program = assemble(|a| a.ud2());
    let machine = Machine::new(&device, 1, long(), &program);
    let (_, exit) = run(machine.vcpu(0)).wait();
    assert_eq!(exit, Exit::System(SystemEvent::Reboot));
}

#[test]
fn vcpus_are_made_once() {
    let Some(device) = device() else { return };
    let machine = Machine::new(&device, 2, long(), &assemble(finish));
    let _first = machine.vcpu(1);
    for (index, reason) in [(1, "exists"), (2, "fewer")] {
        let error = clade_engine::Engine::create_vcpu(&machine.engine, index);
        let error = error.err().expect("it is refused").to_string();
        assert!(error.contains(reason), "{error}");
    }
}
