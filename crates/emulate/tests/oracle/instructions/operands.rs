//! Gives instructions operands that are worth computing with.

use clade_riscv::isa::{Class, Inst, Op};

use super::super::layout::{POOL, POOL_ENTRIES, SCRATCH, SCRATCH_SIZE};
use super::super::random::Random;
use super::Generator;

/// Room that is left around a random address, for displaced and wide accesses.
const MARGIN: u64 = 64;

impl Generator {
    /// Loads an integer register with a constant.
    pub(super) fn refresh_integer(&mut self) {
        let register = self.random.register();
        let from = POOL + 8 * self.random.below(POOL_ENTRIES);
        self.code.address(register, from);
        self.code.immediate(Op::Ld, register, register, 0);
    }

    /// Loads a floating-point register with a constant.
    fn refresh_float(&mut self, register: u8) {
        let base = self.random.register();
        let from = POOL + 8 * self.random.below(POOL_ENTRIES);
        self.code.address(base, from);
        self.code.immediate(Op::Fld, register, base, 0);
    }

    /// A floating-point instruction, usually with fresh operands: results soon are all NaN.
    pub(super) fn float(&mut self, inst: Inst, raw: u32) {
        for register in [inst.rs1, inst.rs2, inst.rs3] {
            if self.random.chance(1, 3) {
                self.refresh_float(register);
            }
        }
        self.code.word(raw);
    }

    /// An address for an access of `size` bytes.
    pub(super) fn target(&mut self, size: u64, aligned: bool) -> u64 {
        let offset = MARGIN + self.random.below(SCRATCH_SIZE - 2 * MARGIN);
        // Half of all accesses are near the page boundary.
        let offset = if self.random.chance(1, 2) {
            SCRATCH_SIZE / 2 - 16 + offset % 32
        } else {
            offset
        };
        let address = SCRATCH + offset;
        if aligned {
            address / size * size
        } else {
            address
        }
    }

    /// A load, store, atomic or cache-block instruction, after its base register was set.
    pub(super) fn memory(&mut self, inst: Inst, raw: u32) {
        let base = inst.rs1.max(1);
        let raw = raw | u32::from(base) << 15;
        let class = inst.op.spec().class;
        let atomic = class == Class::Amo;
        let aligned = self
            .random
            .chance(if atomic { 15 } else { 3 }, if atomic { 16 } else { 4 });
        let size = if inst.op == Op::AmocasQ { 16 } else { 8 };
        let target = self.target(size, aligned);
        if matches!(inst.op, Op::LrW | Op::LrD) {
            // Those stand in pairs with SC only.
            return;
        }
        if matches!(inst.op, Op::AmocasW | Op::AmocasD) && inst.rd != base && inst.rd != 0 {
            // Half of them are to find what they expect.
            if self.random.chance(1, 2) {
                self.code.address(base, target);
                self.code.immediate(Op::Ld, inst.rd, base, 0);
            }
        }
        self.code
            .address(base, target.wrapping_sub(inst.imm as u64));
        self.code.word(raw);
    }
}

/// A value that is likely to be a special case of something.
pub(crate) fn special(random: &mut Random) -> u64 {
    const DOUBLES: [u64; 24] = [
        0,
        0x3ff0_0000_0000_0000,
        0x3fe0_0000_0000_0000,
        0x4000_0000_0000_0000,
        0x7ff0_0000_0000_0000,
        0x7ff8_0000_0000_0000,
        0x7ff0_0000_0000_0001,
        0x7ff4_0000_0000_0000,
        0x7fff_ffff_ffff_ffff,
        0x7fef_ffff_ffff_ffff,
        0x0010_0000_0000_0000,
        0x000f_ffff_ffff_ffff,
        0x0000_0000_0000_0001,
        0x41df_ffff_ffc0_0000,
        0x41e0_0000_0000_0000,
        0x41ef_ffff_ffe0_0000,
        0x43e0_0000_0000_0000,
        0x43df_ffff_ffff_ffff,
        0x43f0_0000_0000_0000,
        0x47ef_ffff_e000_0000,
        0x47ef_ffff_f000_0000,
        0x3810_0000_0000_0000,
        0x36a0_0000_0000_0000,
        0x40ef_fe00_0000_0000,
    ];
    const SINGLES: [u32; 16] = [
        0,
        0x3f80_0000,
        0x3f00_0000,
        0x7f80_0000,
        0x7fc0_0000,
        0x7f80_0001,
        0x7f7f_ffff,
        0x0080_0000,
        0x007f_ffff,
        0x0000_0001,
        0x4eff_ffff,
        0x4f00_0000,
        0x4f80_0000,
        0x5f00_0000,
        0x5f80_0000,
        0x477f_f000,
    ];
    const HALVES: [u16; 10] = [
        0, 0x3c00, 0x7c00, 0x7e00, 0x7c01, 0x7bff, 0x0400, 0x03ff, 0x0001, 0x4248,
    ];
    const INTEGERS: [u64; 8] = [
        0,
        1,
        u64::MAX,
        1 << 63,
        i64::MAX as u64,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff_8000_0000,
    ];
    let bits = random.bits();
    // Signs, and a few units in the last place more or less.
    let (sign, nudge) = (bits & 1, (bits >> 1) % 5);
    let nudge = if bits >> 8 & 3 == 0 { nudge } else { 0 };
    match random.below(12) {
        0..3 => (random.pick(&DOUBLES) | sign << 63).wrapping_add(nudge),
        3..6 => {
            let single = (random.pick(&SINGLES) | (sign as u32) << 31).wrapping_add(nudge as u32);
            u64::from(single) | 0xffff_ffff << 32
        }
        6 => {
            let half = random.pick(&HALVES) | (sign as u16) << 15;
            u64::from(half) | !0xffff
        }
        7 => random.pick(&INTEGERS).wrapping_add(nudge),
        // A double, then a single, whose exponents are near to one another's.
        8 => bits & !(0x7ff << 52) | (0x3ff - 16 + random.below(32)) << 52,
        9 => bits & 0x807f_ffff | (127 - 8 + random.below(16)) << 23 | 0xffff_ffff << 32,
        10 => bits as u32 as u64,
        _ => bits,
    }
}
