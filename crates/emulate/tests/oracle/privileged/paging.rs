//! Random page tables.

use std::collections::BTreeMap;

use clade_riscv::csr::satp;

use super::super::assembler::Assembler;
use super::super::layout::{BASE, privileged::*};
use super::super::random::Random;

const V: u64 = 1 << 0;
const R: u64 = 1 << 1;
const X: u64 = 1 << 3;
const U: u64 = 1 << 4;
const A: u64 = 1 << 6;
const D: u64 = 1 << 7;
const N: u64 = 1 << 63;
const PBMT_SHIFT: u32 = 61;
const RESERVED_SHIFT: u32 = 54;
const PAGE: u64 = 4096;

/// Mappings in a program.
const MAPPINGS: usize = 24;

/// The page tables of a program.
pub(super) struct Paging {
    /// Turns them on.
    pub(super) satp: u64,
    levels: u32,
    /// The entries, by physical address.
    entries: BTreeMap<u64, u64>,
    mappings: Vec<Mapping>,
    next_table: u64,
}

/// Somewhere to access memory.
pub(super) struct Place {
    /// Its virtual address.
    pub(super) address: u64,
    /// Where that leads to, if the mapping is sound; in memory in any case, and aligned to 8.
    pub(super) physical: u64,
    /// The physical address of the leaf's entry.
    pub(super) entry: u64,
}

struct Mapping {
    /// The first address that the leaf maps.
    start: u64,
    size: u64,
    entry: u64,
}

impl Paging {
    pub(super) fn new(random: &mut Random) -> Self {
        let (mode, levels) = random.pick(&[
            (satp::SV39, 3),
            (satp::SV39, 3),
            (satp::SV48, 4),
            (satp::SV57, 5),
        ]);
        let asid = random.below(4) << satp::ASID_SHIFT;
        let mut paging = Self {
            satp: mode << satp::MODE_SHIFT | asid | OWN_TABLES >> 12,
            levels,
            entries: BTreeMap::new(),
            mappings: Vec::new(),
            next_table: TABLES,
        };
        paging.map_own_code();
        for _ in 0..MAPPINGS {
            let address = paging.random_address(random);
            paging.map(random, address);
            if random.chance(1, 2) {
                paging.map(random, address.wrapping_add(PAGE));
            }
        }
        paging
    }

    /// Maps the pages of the probes' code to themselves.
    fn map_own_code(&mut self) {
        let mut table = OWN_TABLES;
        for level in (1..self.levels).rev() {
            let next = table + PAGE;
            let entry = entry_address(table, SUPERVISOR_CODE, level);
            self.entries.insert(entry, next >> 2 | V);
            table = next;
        }
        for (page, user) in [(SUPERVISOR_CODE, 0), (USER_CODE, U)] {
            let leaf = page >> 2 | V | R | X | A | D | user;
            self.entries.insert(entry_address(table, page, 0), leaf);
        }
    }

    /// A canonical address that does not share the root's entry of our own code. Its low 39 bits
    /// are not below memory, where the largest superpages would lead to Spike's devices.
    fn random_address(&self, random: &mut Random) -> u64 {
        let width = 12 + 9 * self.levels;
        let top = self.levels - 1;
        loop {
            // Few different indices, so that tables are shared.
            let mut address = 0;
            for level in 0..self.levels {
                let index = match level {
                    2 => random.pick(&[2, 3, 255, 256, 510, 511]),
                    _ => random.pick(&[0, 1, 2, 3, 255, 256, 510, 511]),
                };
                address |= index << (12 + 9 * level);
            }
            let index = |address: u64| address >> (12 + 9 * top) & 511;
            if index(address) != index(SUPERVISOR_CODE) {
                return sign_extend(address, width);
            }
        }
    }

    /// Maps the page of `address` or a superpage around it, or spoils something on the way.
    fn map(&mut self, random: &mut Random, address: u64) {
        let leaf_level = match random.below(8) {
            0..5 => 0,
            5..7 => 1,
            _ => random.below(u64::from(self.levels)) as u32,
        };
        let mut table = OWN_TABLES;
        for level in (leaf_level + 1..self.levels).rev() {
            let at = entry_address(table, address, level);
            let pointer = self.entries.get(&at).copied().unwrap_or_else(|| {
                let next = self.next_table;
                self.next_table += PAGE;
                let spoilt = if random.chance(1, 20) {
                    1 << random.below(64)
                } else {
                    0
                };
                (next >> 2 | V) ^ spoilt
            });
            self.entries.insert(at, pointer);
            table = pointer >> 10 << 12 & ((1 << 56) - 1);
            if !(TABLES..self.next_table).contains(&table) {
                return;
            }
        }
        if self.next_table > TABLES + (TABLE_PAGES - 4) * PAGE {
            return;
        }
        let entry = entry_address(table, address, leaf_level);
        let size = PAGE << (9 * leaf_level);
        self.entries.insert(entry, random_leaf(random, leaf_level));
        self.mappings.push(Mapping {
            start: address & !(size - 1),
            size,
            entry,
        });
    }

    /// An address to access, mostly one that is mapped.
    pub(super) fn place(&self, random: &mut Random) -> Place {
        let mapping = &self.mappings[random.below(self.mappings.len() as u64) as usize];
        let in_data = DATA + random.below(DATA_SIZE);
        let physical = match random.below(4) {
            // Just before the end of a page, so that wide accesses reach the next.
            0 => (in_data | (PAGE - 1)) - random.below(8),
            1 => in_data,
            _ => in_data & !7,
        };
        let address = mapping.start + physical % mapping.size;
        let address = match random.below(32) {
            0 => address ^ 1 << random.below(12),
            2 => address ^ 1 << (39 + random.below(25)),
            1 => physical,
            _ => address,
        };
        Place {
            address,
            physical: physical & !7,
            entry: mapping.entry,
        }
    }

    /// Writes the tables and the data that they map.
    pub(super) fn write(&self, memory: &mut Assembler) {
        memory.skip_to(DATA);
        for _ in 0..DATA_SIZE / 8 {
            // `ecall` and `ebreak`, so that it can be executed.
            memory.double(0x0010_0073_0000_0073);
        }
        memory.skip_to(self.next_table);
        for (&address, &entry) in &self.entries {
            let at = (address - BASE) as usize;
            memory.bytes[at..at + 8].copy_from_slice(&entry.to_le_bytes());
        }
    }
}

fn random_leaf(random: &mut Random, level: u32) -> u64 {
    // R, W and X, most of all in sensible combinations.
    let rights = random.pick(&[1, 3, 3, 5, 7, 7, 7, 4, 0, 2, 6]) << 1;
    let mut leaf = rights;
    let bits = random.bits();
    leaf |= bits & (U | 1 << 5 | 3 << 8);
    if random.chance(19, 20) {
        leaf |= V;
    }
    if random.chance(3, 4) {
        leaf |= A;
    }
    if random.chance(2, 3) {
        leaf |= D;
    }
    if random.chance(1, 8) {
        leaf |= random.below(4) << PBMT_SHIFT;
    }
    if random.chance(1, 30) {
        leaf |= 1 << (RESERVED_SHIFT + random.below(7) as u32);
    }
    let page = DATA + random.below(DATA_SIZE / PAGE) * PAGE;
    let mut frame = page >> 12;
    if level > 0 && random.chance(7, 8) {
        frame = DATA >> (12 + 9 * level) << (9 * level);
    }
    if random.chance(1, 8) {
        leaf |= N;
        if random.chance(3, 4) {
            frame = frame & !15 | 8;
        }
    }
    if random.chance(1, 24) {
        // Nothing is there.
        frame = 0x4_0000 + random.below(16);
    }
    leaf | frame << 10
}

fn entry_address(table: u64, address: u64, level: u32) -> u64 {
    table + 8 * (address >> (12 + 9 * level) & 511)
}

fn sign_extend(address: u64, width: u32) -> u64 {
    ((address << (64 - width)) as i64 >> (64 - width)) as u64
}
