//! The modes that a vCPU begins in, and how it ends.

use clade_engine::{Exit, SystemEvent};
use iced_x86::code_asm::*;
use vm_memory::{Bytes, GuestAddress};

use crate::machine::{self, Machine, assemble, assemble_for, device, run, until};

#[test]
fn a_halted_guest_sleeps_until_it_is_kicked() {
    let Some(device) = device() else { return };
    let program = assemble_for(32, machine::CODE, |a| {
        a.mov(dword_ptr(0x2000), ebx).expect("code");
        a.cli().expect("code");
        a.hlt().expect("code");
    });
    let machine = Machine::new(&device, 1, machine::protected(), &program);
    let running = run(machine.vcpu(0));
    let seen = || -> u32 { machine.ram.read_obj(GuestAddress(0x2000)).expect("RAM") };
    until("the guest's store", || seen() == 0x1234_5678);
    let (_, exit) = running.kick();
    assert_eq!(exit, Exit::Kicked);
}

#[test]
fn a_kick_before_it_runs_counts() {
    let Some(device) = device() else { return };
    let program = assemble(|a| {
        a.hlt().expect("code");
    });
    let machine = Machine::new(&device, 1, machine::long(), &program);
    let mut vcpu = machine.vcpu(0);
    vcpu.handle().kick();
    assert_eq!(vcpu.run().expect("it runs"), Exit::Kicked);
}

#[test]
fn a_triple_fault_resets_the_machine() {
    let Some(device) = device() else { return };
    let program = assemble(|a| {
        a.ud2().expect("code");
    });
    let machine = Machine::new(&device, 1, machine::long(), &program);
    let (_, exit) = run(machine.vcpu(0)).wait();
    assert_eq!(exit, Exit::System(SystemEvent::Reboot));
}
