//! The page tables of a program: three address spaces that differ in the windows only.

use super::super::common::paging::{A, D, G, R, U, V, W, X, entry};
use super::super::machine::{LOG, TIME};
use super::*;

const PAGE: u64 = 0x1000;
const LARGE_PAGE: u64 = 0x20_0000;
/// The last tables for memory: S-mode's, then U-mode's.
pub(super) const LEAVES: u64 = TABLES + SPACES * PAGE;
/// Those that lead to them.
const MIDDLES: u64 = LEAVES + 2 * PAGE;
const LARGE: u64 = MIDDLES + 2 * PAGE;
/// Devices, for S-mode and for U-mode.
const DEVICES: u64 = LARGE + PAGE;
/// For each space, the two tables of its windows.
const WINDOW_MIDDLES: u64 = DEVICES + 2 * PAGE;
const WINDOW_LEAVES: u64 = WINDOW_MIDDLES + SPACES * PAGE;

/// The value of `satp` for an address space.
pub(super) fn satp(space: u64) -> u64 {
    8 << 60 | (space + 1) << 44 | (TABLES + space * PAGE) >> 12
}

/// The address of the entry for a page of memory.
pub(super) fn leaf(page: u64, user: bool) -> u64 {
    LEAVES + u64::from(user) * PAGE + slot(page, 0)
}

/// The address of the entry for a window of a space.
pub(super) fn window(space: u64, window: u64) -> u64 {
    WINDOW_LEAVES + space * PAGE + 8 * window
}

/// Code that S-mode executes but does not write.
pub(super) const WINDOW_FLAGS: u64 = V | R | X | A;

/// The offset of an address's entry in its table.
fn slot(address: u64, level: u32) -> u64 {
    (address >> (12 + 9 * level) & 0x1ff) * 8
}

impl Generator {
    /// Writes all tables.
    pub(super) fn tables(&mut self, image: &mut [u8]) {
        let mut put = |address: u64, value: u64| {
            let at = (address - BASE) as usize;
            image[at..at + 8].copy_from_slice(&value.to_le_bytes());
        };
        for space in 0..SPACES {
            let root = TABLES + space * PAGE;
            let middle = WINDOW_MIDDLES + space * PAGE;
            let children = [
                (BASE, MIDDLES),
                (BASE + USER_ALIAS, MIDDLES + PAGE),
                (BASE + LARGE_ALIAS, LARGE),
                (TIME, DEVICES),
                (TIME + USER_ALIAS, DEVICES + PAGE),
                (WINDOWS, middle),
            ];
            for (address, table) in children {
                put(root + slot(address, 2), entry(table, V));
            }
            put(middle, entry(WINDOW_LEAVES + space * PAGE, V));
            for index in 0..WINDOW_PAGES {
                let page = WINDOW_CODE + self.random.below(WINDOW_PAGES) * PAGE;
                put(window(space, index), entry(page, WINDOW_FLAGS));
            }
        }
        put(
            LARGE + slot(BASE, 1),
            entry(BASE, V | R | W | X | A | D | G),
        );
        for (index, user) in [0, U].into_iter().enumerate() {
            let index = index as u64;
            let leaves = LEAVES + index * PAGE;
            put(MIDDLES + index * PAGE + slot(BASE, 1), entry(leaves, V));
            for device in [TIME, LOG, NOWHERE] {
                let flags = V | R | W | A | D | G | user;
                put(
                    DEVICES + index * PAGE + slot(device, 1),
                    entry(device, flags),
                );
            }
            for page in (CODE..WINDOW_CODE).step_by(PAGE as usize) {
                let flags = self.page_flags(page);
                if flags != 0 {
                    put(leaves + slot(page, 0), entry(page, flags ^ user));
                }
            }
        }
        const { assert!(BASE.is_multiple_of(LARGE_PAGE)) };
    }

    /// What S-mode may do with a page; 0 when it is not mapped.
    fn page_flags(&mut self, page: u64) -> u64 {
        let mut flags = match page {
            CODE..CODE_END if self.random.chance(1, 8) => X,
            CODE..CODE_END => R | X,
            POOL..FRAME => R,
            DATA..FLIPPING if self.random.chance(1, 8) => R | W | U,
            DATA..FLIPPING => R | W,
            FLIPPING..STACK if self.random.chance(1, 2) => R,
            FLIPPING..STACK => R | W,
            STACK..STACK_END => R | W,
            _ => return 0,
        } | V;
        let used = A | D;
        flags |= if self.around.updates_ad {
            self.random.bits() & used
        } else {
            used
        };
        flags | self.random.bits() & G
    }
}
