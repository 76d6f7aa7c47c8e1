//! Where each [`Format`] keeps its operands: masks for the fields of a word.

use super::spec::Format;

/// Masks that select the operands of a format; a field that it does not have has the mask 0.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Of bits 11:7.
    pub(super) rd: u8,
    /// Of bits 19:15.
    pub(super) rs1: u8,
    /// Of bits 24:20.
    pub(super) rs2: u8,
    /// Of bits 31:27.
    pub(super) rs3: u8,
    /// Of bits 14:12, the rounding mode.
    pub(super) rounding: u8,
    /// Of bits 26:25, `aq` and `rl`.
    pub(super) ordering: u8,
    immediate: Immediate,
}

/// Masks that select the immediate's bits from the word in several positions. Together they are its value.
#[derive(Clone, Copy)]
struct Immediate {
    /// Of the word shifted right by 20, the sign copied.
    high: u32,
    /// Of the word shifted right by 7.
    low: u32,
    /// Of the word itself.
    in_place: u32,
    /// Bit 11 of the immediate from bit 7.
    bit_7: u32,
    /// Bit 11 of the immediate from bit 20.
    bit_20: u32,
}

impl Layout {
    #[inline]
    pub(super) fn of(format: Format) -> &'static Layout {
        static LAYOUTS: [Layout; Format::ALL.len()] = {
            let mut layouts = [Layout::new(Format::None); Format::ALL.len()];
            let mut i = 0;
            while i < layouts.len() {
                layouts[Format::ALL[i] as usize] = Layout::new(Format::ALL[i]);
                i += 1;
            }
            layouts
        };
        &LAYOUTS[format as usize]
    }

    /// The immediate in `raw`.
    #[inline]
    pub(super) fn immediate(&self, raw: u32) -> i32 {
        let masks = &self.immediate;
        let high = (raw as i32 >> 20) as u32 & masks.high;
        let low = raw >> 7 & masks.low;
        let bit_11 = raw << 4 & masks.bit_7 | raw >> 9 & masks.bit_20;
        (high | low | bit_11 | raw & masks.in_place) as i32
    }

    const fn new(format: Format) -> Layout {
        Layout {
            rd: format.mask_if_has(b'd', 31),
            rs1: format.mask_if_has(b's', 31),
            rs2: format.mask_if_has(b't', 31),
            rs3: format.mask_if_has(b'u', 31),
            rounding: format.mask_if_has(b'm', 7),
            ordering: format.mask_if_has(b'q', 3),
            immediate: Immediate::new(format),
        }
    }
}

impl Immediate {
    const fn new(format: Format) -> Immediate {
        let none = Immediate {
            high: 0,
            low: 0,
            in_place: 0,
            bit_7: 0,
            bit_20: 0,
        };
        match format {
            Format::I => Immediate { high: !0, ..none },
            Format::Shift => Immediate { high: 0x3f, ..none },
            Format::Csr | Format::Fence => Immediate {
                high: 0xfff,
                ..none
            },
            // imm[11:5] in bits 31:25, imm[4:0] in bits 11:7.
            Format::S => Immediate {
                high: !0x1f,
                low: 0x1f,
                ..none
            },
            Format::Prefetch => Immediate {
                high: !0x1f,
                ..none
            },
            // imm[12|10:5] in bits 31:25, imm[4:1|11] in bits 11:7.
            Format::B => Immediate {
                high: !0x81f,
                low: 0x1e,
                bit_7: 0x800,
                ..none
            },
            Format::U => Immediate {
                in_place: 0xffff_f000,
                ..none
            },
            // imm[20|10:1|11|19:12] in bits 31:12.
            Format::J => Immediate {
                high: 0xfff0_07fe,
                in_place: 0xf_f000,
                bit_20: 0x800,
                ..none
            },
            // Those of the may-be-operations lie scattered: the decoder gathers them.
            _ => none,
        }
    }
}

impl Format {
    /// `mask` when the format has the operand with this letter, else 0.
    const fn mask_if_has(self, letter: u8, mask: u8) -> u8 {
        let letters = self.letters().as_bytes();
        let mut i = 0;
        while i < letters.len() {
            if letters[i] == letter {
                return mask;
            }
            i += 1;
        }
        0
    }
}
