//! Random physical memory protection.

use super::super::layout::privileged::*;
use super::driver::Field;
use super::{Generator, Record};

const READ_WRITE_EXECUTE: u64 = 7;
const READ_EXECUTE: u64 = 5;
const NATURALLY_ALIGNED: u64 = 3 << 3;
const LOCK: u64 = 1 << 7;

impl Generator {
    /// Sets the entries: 0 for the driver, 1 to 4 at random, 15 for everything.
    pub(super) fn protect(&mut self, record: &mut Record) {
        let random = &mut self.random;
        let mut config = READ_EXECUTE | NATURALLY_ALIGNED;
        let addresses = [
            Field::Pmpaddr1,
            Field::Pmpaddr2,
            Field::Pmpaddr3,
            Field::Pmpaddr4,
        ];
        for (entry, field) in (1..).zip(addresses) {
            let address = TESTED_MEMORY + random.below(TESTED_MEMORY_SIZE);
            // Naturally aligned ranges of up to 128 KiB, by their trailing ones.
            let ones = (1u64 << random.below(15)) - 1;
            record[field as usize] = address >> 2 | if random.chance(1, 2) { ones } else { 0 };
            if random.chance(1, 3) {
                let locked = if self.locks && random.chance(1, 20) {
                    LOCK
                } else {
                    0
                };
                config |= (random.below(32) | locked) << (8 * entry);
            }
        }
        record[Field::Pmpcfg0 as usize] = config;
        if random.chance(1, 3) {
            return Self::protect_nothing(record);
        }
        let everything = if random.chance(15, 16) {
            READ_WRITE_EXECUTE | NATURALLY_ALIGNED
        } else {
            0
        };
        record[Field::Pmpcfg2 as usize] = everything << 56;
    }

    /// Leaves everything that is not locked open to all.
    pub(super) fn protect_nothing(record: &mut Record) {
        record[Field::Pmpcfg0 as usize] = READ_EXECUTE | NATURALLY_ALIGNED;
        record[Field::Pmpcfg2 as usize] = (READ_WRITE_EXECUTE | NATURALLY_ALIGNED) << 56;
    }
}
