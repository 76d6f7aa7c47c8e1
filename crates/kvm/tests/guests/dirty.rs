//! Which pages were written.

use clade_engine::{DirtyPages, Engine, PAGE_SIZE};
use iced_x86::code_asm::*;
use vm_memory::{Bytes, GuestAddress};

use crate::machine::{Machine, assemble, device, finish, long, run, until};

const FIRST: u64 = 0x10_0000;
const SECOND: u64 = 0x14_0000;
const GO: u64 = 0x6000;
const BY_DEVICE: u64 = 0x18_0000;
/// Nobody ever writes to it.
const UNTOUCHED: u64 = 0x1c_0000;

fn has(pages: &DirtyPages, address: u64) -> bool {
    (pages.iter()).any(|run| (run.start..run.start + run.pages * PAGE_SIZE).contains(&address))
}

#[test]
fn pages_that_were_written_are_told_once() {
    let Some(device) = device() else { return };
    // Writes to its first page, then to its second when it is told.
    let program = assemble(|a| {
        let mut wait = a.create_label();
        a.mov(qword_ptr(FIRST), 1)?;
        a.set_label(&mut wait)?;
        a.pause()?;
        a.cmp(dword_ptr(GO), 1)?;
        a.jne(wait)?;
        a.mov(qword_ptr(SECOND), 1)?;
        finish(a)
    });
    let machine = Machine::new(&device, 1, long(), &program);
    let take = || machine.engine.take_dirty_pages().expect("pages");
    let running = run(machine.vcpu(0));
    until("a store", || machine.word(FIRST) == 1);
    let pages = take();
    assert!(has(&pages, FIRST) && has(&pages, 0x1000), "{pages:?}");
    assert!(!has(&pages, UNTOUCHED), "{pages:?}");

    let pages = take();
    assert!(!has(&pages, FIRST) && !has(&pages, SECOND), "{pages:?}");

    let store = |address| {
        let stored = machine.ram.write_obj(1u32, GuestAddress(address));
        stored.expect("RAM");
    };
    store(BY_DEVICE);
    store(GO);
    until("the program's end", || machine.is_done());
    let pages = take();
    assert!(has(&pages, SECOND) && has(&pages, BY_DEVICE), "{pages:?}");
    assert!(!has(&pages, FIRST) && !has(&pages, UNTOUCHED), "{pages:?}");
    assert!(take().is_empty());
    running.kick();
}
