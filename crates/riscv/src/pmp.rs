//! Physical memory protection (privileged spec 3.7): 16 entries, four-byte granularity.

use serde::{Deserialize, Serialize};

use crate::hart::Mode;
use crate::mmu::Access;

/// Number of entries that exist; the other 48 read as zero.
pub const ENTRIES: usize = 16;

const READ: u8 = 1 << 0;
const WRITE: u8 = 1 << 1;
const EXECUTE: u8 = 1 << 2;
const MATCH_SHIFT: u32 = 3;
const MATCH: u8 = 3 << MATCH_SHIFT;
const LOCK: u8 = 1 << 7;
const OFF: u8 = 0;
const TOP_OF_RANGE: u8 = 1;
const NATURALLY_FOUR: u8 = 2;
const NATURALLY_ALIGNED: u8 = 3;
const ADDRESS_MASK: u64 = (1 << 54) - 1;
/// The configuration of an entry that matches by size and allows everything.
const ALL_OPEN: u8 = READ | WRITE | EXECUTE | NATURALLY_ALIGNED << MATCH_SHIFT;

/// The PMP registers of one hart.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pmp {
    config: [u8; ENTRIES],
    address: [u64; ENTRIES],
}

/// What the entries say of a range of physical addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Every byte of the range may be accessed.
    Allowed,
    /// The access must fault.
    Denied,
}

impl Pmp {
    /// `pmpcfgN`: eight entries' configuration; `None` for odd numbers, which RV64 does not have.
    pub fn read_config(&self, register: usize) -> Option<u64> {
        if !register.is_multiple_of(2) {
            return None;
        }
        let first = register * 4;
        Some((0..8).fold(0, |value, i| {
            let config = self.config.get(first + i).copied().unwrap_or(0);
            value | u64::from(config) << (8 * i)
        }))
    }

    /// Writes `pmpcfgN`. Locked entries keep their value. The reserved combination of write without
    /// read becomes neither (the fields are WARL together, 3.7.1).
    pub fn write_config(&mut self, register: usize, value: u64) -> Option<()> {
        if !register.is_multiple_of(2) {
            return None;
        }
        for (i, byte) in value.to_le_bytes().into_iter().enumerate() {
            let Some(config) = self.config.get_mut(register * 4 + i) else {
                break;
            };
            let new = byte & (READ | WRITE | EXECUTE | MATCH | LOCK);
            if *config & LOCK == 0 {
                *config = if new & READ == 0 { new & !WRITE } else { new };
            }
        }
        Some(())
    }

    /// `pmpaddrN`: bits 55 to 2 of an address.
    pub fn read_address(&self, entry: usize) -> u64 {
        self.address.get(entry).copied().unwrap_or(0)
    }

    /// Writes `pmpaddrN` unless it is locked, or is the bottom of a locked top-of-range entry.
    pub fn write_address(&mut self, entry: usize, value: u64) {
        if entry >= ENTRIES || self.config[entry] & LOCK != 0 {
            return;
        }
        if let Some(next) = self.config.get(entry + 1)
            && next & LOCK != 0
            && (next & MATCH) >> MATCH_SHIFT == TOP_OF_RANGE
        {
            return;
        }
        self.address[entry] = value & ADDRESS_MASK;
    }

    /// Whether `mode` may access `size` bytes at `start`: the lowest-numbered entry that matches
    /// any byte decides, and must match all of them.
    pub fn check(&self, start: u64, size: u64, access: Access, mode: Mode) -> Verdict {
        if self.is_open() {
            return Verdict::Allowed;
        }
        let end = start.saturating_add(size);
        for entry in 0..ENTRIES {
            let Some((low, high)) = self.range(entry) else {
                continue;
            };
            if end <= low || start >= high {
                continue;
            }
            let config = self.config[entry];
            if start < low || end > high {
                return Verdict::Denied;
            }
            if mode == Mode::Machine && config & LOCK == 0 {
                return Verdict::Allowed;
            }
            let needed = match access {
                Access::Read => READ,
                Access::Write => WRITE,
                Access::Execute => EXECUTE,
            };
            return if config & needed != 0 {
                Verdict::Allowed
            } else {
                Verdict::Denied
            };
        }
        // M-mode sees all that no entry claims; with entries implemented, the others see nothing.
        if mode == Mode::Machine {
            Verdict::Allowed
        } else {
            Verdict::Denied
        }
    }

    /// Whether all bytes of the page at `start` fall under the same entry, so that one verdict
    /// may be cached for the page.
    pub fn is_uniform(&self, start: u64, size: u64) -> bool {
        if self.is_open() {
            return true;
        }
        let end = start + size;
        (0..ENTRIES)
            .filter_map(|entry| self.range(entry))
            .all(|(low, high)| end <= low || start >= high || (low <= start && end <= high))
    }

    /// Whether every register holds a value that writing it could have left there.
    pub(crate) fn is_legal(&self) -> bool {
        let bits = READ | WRITE | EXECUTE | MATCH | LOCK;
        let config = |c: &u8| c & !bits == 0 && c & (READ | WRITE) != WRITE;
        self.config.iter().all(config) && self.address.iter().all(|a| a & !ADDRESS_MASK == 0)
    }

    /// Opens all memory to all modes with the last entry, as firmware does before it starts an
    /// operating system.
    pub fn open_all(&mut self) {
        self.config[ENTRIES - 1] = ALL_OPEN;
        self.address[ENTRIES - 1] = ADDRESS_MASK;
    }

    /// Whether all is as [`Pmp::open_all`] leaves it: the case worth being quick about.
    #[inline]
    fn is_open(&self) -> bool {
        const OPEN: [u8; ENTRIES] = {
            let mut config = [0; ENTRIES];
            config[ENTRIES - 1] = ALL_OPEN;
            config
        };
        self.config == OPEN && self.address[ENTRIES - 1] == ADDRESS_MASK
    }

    /// The addresses an entry matches, or `None` when it is off or empty.
    fn range(&self, entry: usize) -> Option<(u64, u64)> {
        let address = self.address[entry];
        let (low, high) = match (self.config[entry] & MATCH) >> MATCH_SHIFT {
            OFF => return None,
            TOP_OF_RANGE => {
                let bottom = if entry == 0 {
                    0
                } else {
                    self.address[entry - 1]
                };
                (bottom << 2, address << 2)
            }
            NATURALLY_FOUR => (address << 2, (address << 2) + 4),
            _ => {
                let ones = address.trailing_ones().min(54);
                let size = 8u64 << ones;
                let base = address & !((1u64 << ones) - 1);
                if ones >= 53 {
                    (0, u64::MAX)
                } else {
                    (base << 2, (base << 2) + size)
                }
            }
        };
        (low < high).then_some((low, high))
    }
}
