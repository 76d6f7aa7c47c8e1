//! Items that load and store.

use clade_riscv::csr::address::*;
use clade_riscv::csr::status;
use clade_riscv::isa::{Class, Op, decode};

use super::super::machine::{LOG, RAM_SIZE};
use super::*;

/// Where the address of an access is: not a register that loads change before.
const ADDRESS: u8 = T2;

impl Generator {
    pub(super) fn access(&mut self) {
        let probes_translation = self.around.mode == Mode::Machine && self.random.chance(1, 2);
        if probes_translation {
            self.translate_as_if();
        }
        for _ in 0..1 + self.random.below(3) {
            let class = self.random.pick(&[Class::Load, Class::Load, Class::Store]);
            let class = if self.random.chance(1, 24) {
                Class::Cache
            } else {
                class
            };
            let raw = self.any_of(|any| any == class);
            let inst = decode(raw).expect("it was decoded");
            self.address(inst.imm as u64, class == Class::Load);
            self.asm.word(raw & !(31 << 15) | u32::from(ADDRESS) << 15);
        }
        if probes_translation {
            let mprv = self.free();
            self.asm.li(mprv, status::MPRV);
            self.asm.csr(Op::Csrrc, ZERO, MSTATUS, mprv);
        }
    }

    /// Loads and stores of M-mode as if in another one.
    fn translate_as_if(&mut self) {
        let mode = self.random.pick(&[Mode::User, Mode::Supervisor]);
        let (off, on) = (
            self.free(),
            status::MPRV | (mode as u64) << status::MPP_SHIFT,
        );
        self.asm
            .li(off, status::MPP)
            .csr(Op::Csrrc, ZERO, MSTATUS, off)
            .li(off, on)
            .csr(Op::Csrrs, ZERO, MSTATUS, off);
    }

    /// Puts an address into [`ADDRESS`], to which the access adds `offset`.
    fn address(&mut self, offset: u64, load: bool) {
        let protected = self.around.translated && self.around.mode != Mode::Machine;
        let (place, size) = match self.random.below(32) {
            0 => (LOG, 64),
            1 => (NOWHERE, 64),
            2 if protected => (UNMAPPED, 0x1000),
            3 if protected => (LARGE_ALIAS + BASE + RAM_SIZE - 64, 128),
            // Its stores fault, as code and constants are read-only.
            4..6 if protected || load => (CODE, 0x4000),
            6 if protected || load => (POOL, 0x800),
            7..12 => (FLIPPING, FLIPPING_PAGES * 0x1000),
            _ => (DATA, DATA_SIZE),
        };
        let address = self.place(place, size).wrapping_sub(offset);
        self.asm.li(ADDRESS, address);
        if self.random.chance(15, 16) {
            self.asm.r(Op::Add, ADDRESS, ADDRESS, WINDOW);
        } else {
            let other = self.random.pick(&[USER_ALIAS, LARGE_ALIAS]);
            let register = self.free();
            if self.around.translated && register != ADDRESS {
                self.asm.li(register, other);
                self.asm.r(Op::Add, ADDRESS, ADDRESS, register);
            }
        }
    }

    /// An address in an area, often near the end of a page, mostly aligned.
    fn place(&mut self, area: u64, size: u64) -> u64 {
        let anywhere = area + 16 + self.random.below(size - 32);
        let address = if size > 0x1000 && self.random.chance(1, 2) {
            (anywhere & !0xfff | 0xff0)
                .wrapping_add(self.random.below(24))
                .min(area + size - 16)
        } else {
            anywhere
        };
        if self.random.chance(3, 4) {
            address & !7
        } else {
            address
        }
    }

    /// LR and SC, or another atomic.
    pub(super) fn atomic(&mut self) {
        let misaligned = self.random.chance(1, 12);
        let target = self.place(DATA, DATA_SIZE) & !15 | u64::from(misaligned);
        self.asm
            .li(ADDRESS, target)
            .r(Op::Add, ADDRESS, ADDRESS, WINDOW);
        if self.random.chance(1, 2) {
            let raw = loop {
                let raw = self.any_of(|class| class == Class::Amo);
                let op = decode(raw).map(|inst| inst.op);
                if !matches!(op, Some(Op::LrW | Op::LrD)) {
                    break raw;
                }
            };
            self.asm.word(raw & !(31 << 15) | u32::from(ADDRESS) << 15);
            return;
        }
        let (lr, sc) = self.random.pick(&[(Op::LrW, Op::ScW), (Op::LrD, Op::ScD)]);
        let (loaded, result, value) = (A0, self.free(), self.random.below(32) as u8);
        self.asm.r(lr, loaded, ADDRESS, ZERO);
        match self.random.below(4) {
            0 => self.asm.s(Op::Sb, value, ADDRESS, 1).end(),
            1 => self.counter(),
            _ => {}
        }
        self.asm.r(sc, result, ADDRESS, value);
    }
}
