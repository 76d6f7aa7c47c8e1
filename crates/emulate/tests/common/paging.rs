//! Page tables built by hand in guest memory.

use super::machine::Machine;

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
