//! Page tables built by hand in guest memory.

use clade_riscv::hart::Mode;
use clade_riscv::trap::Exception;

use super::asm::Asm;
use super::machine::{FINISHER, Machine, RAM, Start};

pub const V: u64 = 1 << 0;
pub const R: u64 = 1 << 1;
pub const W: u64 = 1 << 2;
pub const X: u64 = 1 << 3;
pub const U: u64 = 1 << 4;
pub const G: u64 = 1 << 5;
pub const A: u64 = 1 << 6;
pub const D: u64 = 1 << 7;
pub const N: u64 = 1 << 63;
/// A page that S-mode may do anything with.
pub const RWX: u64 = V | R | W | X | A | D;

/// An entry that points at physical address `target`.
pub fn entry(target: u64, flags: u64) -> u64 {
    target >> 12 << 10 | flags
}

/// Sv39 tables at `root`, growing upwards in whole pages.
pub struct Tables {
    pub root: u64,
    next: u64,
}

impl Tables {
    pub fn new(root: u64) -> Self {
        Self {
            root,
            next: root + 0x1000,
        }
    }

    /// The value of `satp` with this root.
    pub fn satp(&self, asid: u64) -> u64 {
        8 << 60 | asid << 44 | self.root >> 12
    }

    /// The address of the level-`level` entry for `address`, its upper tables made as needed.
    pub fn slot(&mut self, machine: &Machine, address: u64, level: u32) -> u64 {
        let mut table = self.root;
        for above in (level + 1..3).rev() {
            let slot = table + (address >> (12 + 9 * above) & 0x1ff) * 8;
            let mut pointer = machine.read_u64(slot);
            if pointer & V == 0 {
                pointer = entry(self.next, V);
                machine.write_u64(slot, pointer);
                self.next += 0x1000;
            }
            table = pointer >> 10 << 12;
        }
        table + (address >> (12 + 9 * level) & 0x1ff) * 8
    }

    /// Maps the page (of level `level`) at `address` to `target`; returns the entry's address.
    pub fn map(
        &mut self,
        machine: &Machine,
        address: u64,
        target: u64,
        level: u32,
        flags: u64,
    ) -> u64 {
        let slot = self.slot(machine, address, level);
        machine.write_u64(slot, entry(target, flags));
        slot
    }
}

/// Where [`translated`] puts its tables.
pub const ROOT: u64 = RAM + 0x10_0000;
const NO_TRAP: u64 = 1 << 62;

/// A machine in S-mode under Sv39. The program's own page is mapped one to one, and the finisher;
/// a trap to M-mode finishes too.
pub fn translated(program: impl FnOnce(&mut Asm)) -> (Machine, Tables) {
    let mut machine = Machine::with(Start::Machine, program);
    let handler = RAM + 0x1000;
    machine.assemble(handler, |a| {
        a.finish();
    });
    let mut tables = Tables::new(ROOT);
    tables.map(&machine, RAM, RAM, 0, RWX);
    tables.map(&machine, FINISHER, FINISHER, 0, RWX);
    let satp = tables.satp(0);
    machine.set_hart(0, |hart| {
        hart.mode = Mode::Supervisor;
        hart.csrs.pmp.open_all();
        hart.csrs.mtvec = handler;
        hart.csrs.mcause = NO_TRAP;
        hart.csrs.satp = satp;
    });
    (machine, tables)
}

/// Runs a [`translated`] program: `Some` exception with its `mtval` when it trapped.
pub fn trap_of(machine: &mut Machine) -> Option<(u64, u64)> {
    machine.run();
    let csrs = machine.hart(0).csrs;
    (csrs.mcause != NO_TRAP).then_some((csrs.mcause, csrs.mtval))
}

/// What [`trap_of`] gives for an exception.
pub fn trap(cause: Exception, value: u64) -> Option<(u64, u64)> {
    Some((cause as u64, value))
}
