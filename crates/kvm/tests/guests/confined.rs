//! The requests that the crate says it makes are all that it makes.

use std::os::fd::AsFd;
use std::thread;

use clade_engine::{Engine, Exit};
use clade_kvm::IOCTLS;
use rustix::event::{EventfdFlags, eventfd};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

use crate::machine::{MMIO, Machine, assemble, device, finish, long, run};

/// Refuses every request of a device but those.
fn filter() -> BpfProgram {
    let others = IOCTLS.iter().map(|request| {
        let length = SeccompCmpArgLen::Dword;
        SeccompCondition::new(1, length, SeccompCmpOp::Ne, u64::from(*request)).expect("condition")
    });
    let rule = SeccompRule::new(others.collect()).expect("a rule");
    let filter = SeccompFilter::new(
        [(libc::SYS_ioctl, vec![rule])].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
        std::env::consts::ARCH.try_into().expect("an architecture"),
    );
    filter.expect("a filter").try_into().expect("a program")
}

#[test]
fn a_confined_process_makes_runs_saves_and_restores_machines() {
    let Some(device) = device() else { return };
    let event = eventfd(0, EventfdFlags::empty()).expect("an eventfd");
    let confined = thread::spawn(move || {
        // For this thread and those that it starts.
        seccompiler::apply_filter(&filter()).expect("the filter");
        let null = std::fs::File::open("/dev/null").expect("/dev/null");
        let other = rustix::io::ioctl_fionread(&null);
        assert_eq!(other.expect_err("it is refused"), rustix::io::Errno::PERM);
        let machine = Machine::new(&device, 1, long(), &assemble(finish));
        machine.engine.take_dirty_pages().expect("pages");
        let vcpu = machine.run_to_end(machine.vcpu(0));
        machine.engine.take_dirty_pages().expect("pages");
        machine.engine.stop_clock().expect("it stops");
        machine.engine.start_clock().expect("it starts");
        let wire = machine.engine.irq_line(4).expect("a wire");
        wire.set_level(true);
        wire.set_level(false);
        machine.engine.msi().signal(0xfee0_0000, 0x40);
        if let Some(doorbells) = machine.engine.doorbells() {
            doorbells.connect(MMIO, event.as_fd()).expect("it is free");
            doorbells.disconnect(MMIO, event.as_fd());
        }
        let (_moved, mut vcpus) = machine.moved(&device, &[vcpu]);
        assert_eq!(run(vcpus.remove(0)).kick().1, Exit::Kicked);
    });
    confined.join().expect("nothing is refused");
}
