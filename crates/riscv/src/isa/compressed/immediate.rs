//! The immediates of the compressed instructions, whose bits lie scattered.

/// How an immediate is read from a 16-bit word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Immediate {
    None,
    /// -1, as `c.not` implies.
    AllOnes,
    /// 255, as `c.zext.b` implies.
    LowByte,
    /// Six bits, signed.
    Signed6,
    /// Six bits, unsigned.
    Unsigned6,
    /// Bits 17:12 of a signed value.
    Upper,
    /// A signed multiple of 16.
    Addi16sp,
    /// An unsigned multiple of 4.
    Addi4spn,
    /// A signed even offset of 12 bits.
    Jump,
    /// A signed even offset of 9 bits.
    Branch,
    /// The offset of a byte, halfword, word or doubleword from a base register: unsigned, in its size's units.
    Byte,
    Half,
    Word,
    Double,
    /// The offset of a word or doubleword from the stack pointer, unsigned.
    LoadSpWord,
    LoadSpDouble,
    StoreSpWord,
    StoreSpDouble,
}

/// How many kinds there are.
const KINDS: usize = Immediate::StoreSpDouble as usize + 1;

impl Immediate {
    /// Every kind, in the order of declaration.
    const ALL: [Immediate; KINDS] = [
        Immediate::None,
        Immediate::AllOnes,
        Immediate::LowByte,
        Immediate::Signed6,
        Immediate::Unsigned6,
        Immediate::Upper,
        Immediate::Addi16sp,
        Immediate::Addi4spn,
        Immediate::Jump,
        Immediate::Branch,
        Immediate::Byte,
        Immediate::Half,
        Immediate::Word,
        Immediate::Double,
        Immediate::LoadSpWord,
        Immediate::LoadSpDouble,
        Immediate::StoreSpWord,
        Immediate::StoreSpDouble,
    ];

    /// The immediate in `raw`.
    ///
    /// Each of its bits depends on one bit of the word at most, so that what the upper and the lower half
    /// of the word contribute can be looked up, and together are the whole.
    #[inline]
    pub(super) fn of(self, raw: u16) -> i32 {
        let halves = &HALVES[self as usize];
        halves.upper[usize::from(raw >> 7 & 63)] | halves.lower[usize::from(raw >> 2 & 31)]
    }

    /// The immediate in `raw`, from its definition.
    const fn gather(self, raw: u32) -> i32 {
        match self {
            Immediate::None => 0,
            Immediate::AllOnes => -1,
            Immediate::LowByte => 255,
            Immediate::Signed6 => sign_extend(six_bits(raw), 6),
            Immediate::Unsigned6 => six_bits(raw) as i32,
            Immediate::Upper => sign_extend(six_bits(raw), 6) << 12,
            Immediate::Addi16sp => addi16sp(raw),
            Immediate::Addi4spn => addi4spn(raw),
            Immediate::Jump => jump(raw),
            Immediate::Branch => branch(raw),
            Immediate::Byte => (bits(raw, 6, 1, 0) | bits(raw, 5, 1, 1)) as i32,
            Immediate::Half => bits(raw, 5, 1, 1) as i32,
            Immediate::Word => (three_bits(raw) | bits(raw, 6, 1, 2) | bits(raw, 5, 1, 6)) as i32,
            Immediate::Double => (three_bits(raw) | bits(raw, 5, 2, 6)) as i32,
            Immediate::LoadSpWord => {
                (bits(raw, 12, 1, 5) | bits(raw, 4, 3, 2) | bits(raw, 2, 2, 6)) as i32
            }
            Immediate::LoadSpDouble => {
                (bits(raw, 12, 1, 5) | bits(raw, 5, 2, 3) | bits(raw, 2, 3, 6)) as i32
            }
            Immediate::StoreSpWord => (bits(raw, 9, 4, 2) | bits(raw, 7, 2, 6)) as i32,
            Immediate::StoreSpDouble => (three_bits(raw) | bits(raw, 7, 3, 6)) as i32,
        }
    }
}

/// What the bits of a word contribute to an immediate.
struct Halves {
    /// By bits 12:7.
    upper: [i32; 64],
    /// By bits 6:2.
    lower: [i32; 32],
}

static HALVES: [Halves; KINDS] = {
    let mut halves = [const {
        Halves {
            upper: [0; 64],
            lower: [0; 32],
        }
    }; KINDS];
    let mut kind = 0;
    while kind < KINDS {
        let mut half = 0;
        while half < 64 {
            halves[kind].upper[half] = Immediate::ALL[kind].gather((half as u32) << 7);
            if half < 32 {
                halves[kind].lower[half] = Immediate::ALL[kind].gather((half as u32) << 2);
            }
            half += 1;
        }
        kind += 1;
    }
    halves
};

/// `count` bits of `raw` from bit `from` on, moved to bit `to`.
const fn bits(raw: u32, from: u32, count: u32, to: u32) -> u32 {
    (raw >> from & ((1 << count) - 1)) << to
}

/// The low `width` bits of `value` as a signed number.
const fn sign_extend(value: u32, width: u32) -> i32 {
    (value << (32 - width)) as i32 >> (32 - width)
}

/// imm[5] at 12, imm[4:0] at 6:2.
const fn six_bits(raw: u32) -> u32 {
    bits(raw, 12, 1, 5) | bits(raw, 2, 5, 0)
}

/// imm[5:3] at 12:10.
const fn three_bits(raw: u32) -> u32 {
    bits(raw, 10, 3, 3)
}

/// imm[5:4|9:6|2|3] at 12:5.
const fn addi4spn(raw: u32) -> i32 {
    let high = bits(raw, 11, 2, 4) | bits(raw, 7, 4, 6);
    (high | bits(raw, 6, 1, 2) | bits(raw, 5, 1, 3)) as i32
}

/// imm[9] at 12, imm[4|6|8:7|5] at 6:2.
const fn addi16sp(raw: u32) -> i32 {
    let high = bits(raw, 12, 1, 9) | bits(raw, 6, 1, 4) | bits(raw, 5, 1, 6);
    sign_extend(high | bits(raw, 3, 2, 7) | bits(raw, 2, 1, 5), 10)
}

/// imm[11|4|9:8|10|6|7|3:1|5] at 12:2.
const fn jump(raw: u32) -> i32 {
    let high =
        bits(raw, 12, 1, 11) | bits(raw, 11, 1, 4) | bits(raw, 9, 2, 8) | bits(raw, 8, 1, 10);
    let low = bits(raw, 7, 1, 6) | bits(raw, 6, 1, 7) | bits(raw, 3, 3, 1) | bits(raw, 2, 1, 5);
    sign_extend(high | low, 12)
}

/// imm[8|4:3] at 12:10, imm[7:6|2:1|5] at 6:2.
const fn branch(raw: u32) -> i32 {
    let high = bits(raw, 12, 1, 8) | bits(raw, 10, 2, 3);
    sign_extend(
        high | bits(raw, 5, 2, 6) | bits(raw, 3, 2, 1) | bits(raw, 2, 1, 5),
        9,
    )
}
