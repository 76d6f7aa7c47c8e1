//! Stores that KVM answers by itself.

use std::os::fd::{AsFd, OwnedFd};

use clade_engine::Engine;
use iced_x86::code_asm::*;
use rustix::event::{EventfdFlags, eventfd};

use crate::machine::{Access, MMIO, Machine, assemble, device, finish, long};

/// What was added to the eventfd.
fn taken(event: &OwnedFd) -> u64 {
    let mut count = [0; 8];
    match rustix::io::read(event, &mut count) {
        Ok(_) => u64::from_ne_bytes(count),
        Err(_) => 0,
    }
}

#[test]
fn stores_wake_without_reaching_the_bus() {
    let Some(device) = device() else { return };
    let program = assemble(|a| {
        a.mov(rbx, MMIO)?;
        a.mov(rcx, 0x1122_3344_5566_7788u64)?;
        a.mov(byte_ptr(rbx), cl)?;
        a.mov(word_ptr(rbx), cx)?;
        a.mov(dword_ptr(rbx), ecx)?;
        a.mov(qword_ptr(rbx), rcx)?;
        // Beside it, and a load.
        a.mov(word_ptr(rbx + 2), cx)?;
        a.mov(word_ptr(rbx + 4), cx)?;
        a.mov(ax, word_ptr(rbx))?;
        // The one that was disconnected.
        a.mov(word_ptr(rbx + 8), cx)?;
        finish(a)
    });
    let machine = Machine::new(&device, 1, long(), &program);
    let Some(doorbells) = machine.engine.doorbells() else {
        eprintln!("SKIPPED: this KVM has no KVM_CAP_IOEVENTFD_ANY_LENGTH");
        return;
    };
    let [event, other] = [(); 2].map(|()| eventfd(0, EventfdFlags::NONBLOCK).expect("an eventfd"));
    doorbells.connect(MMIO, event.as_fd()).expect("it is free");
    let twice = doorbells.connect(MMIO, other.as_fd());
    assert!(twice.is_err(), "one at an address");
    doorbells
        .connect(MMIO + 8, other.as_fd())
        .expect("it is free");
    doorbells.disconnect(MMIO + 8, event.as_fd());
    doorbells.disconnect(MMIO + 8, other.as_fd());
    doorbells
        .connect(MMIO + 16, std::io::stdin().as_fd())
        .expect_err("no eventfd");

    let vcpu = machine.run_to_end(machine.vcpu(0));
    assert_eq!((taken(&event), taken(&other)), (4, 0));
    let write = |offset| Access::Write(MMIO + offset, vec![0x88, 0x77]);
    assert_eq!(
        machine.memory.accesses(),
        [write(2), write(4), Access::Read(MMIO, 2), write(8)]
    );
    // They are a machine's own: one that goes on from its state has none before they are connected.
    let (moved, _vcpus) = machine.moved(&device, &[vcpu]);
    let doorbells = moved.engine.doorbells().expect("as before");
    doorbells.connect(MMIO, other.as_fd()).expect("it is free");
}
