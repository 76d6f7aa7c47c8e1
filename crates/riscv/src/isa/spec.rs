//! What a row of the instruction table says.

use super::Op;

/// One row of the instruction table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The operation that this row describes.
    pub op: Op,
    /// The assembler's name, such as `amoadd.w`.
    pub mnemonic: &'static str,
    /// The encoding, most significant bit first: `0` and `1` are fixed, a letter is a bit of an
    /// operand, `-` is ignored, and blanks only separate the fields.
    pub pattern: &'static str,
    /// Where the operands lie in the encoding.
    pub format: Format,
    /// The operands as the assembler writes them, separated by commas.
    pub operands: &'static str,
    /// The extension that brings the instruction.
    pub extension: Extension,
    /// What kind of work the instruction does.
    pub class: Class,
    /// Privileged in Popek and Goldberg's sense: it runs in the most privileged mode and traps in a
    /// lesser one, either always or when a control register (`mstatus.TW`, `menvcfg.CBIE`, a counter
    /// enable, ...) or the number of the CSR says so.
    pub privileged: bool,
    /// Sensitive in Popek and Goldberg's sense: it changes the mode or the machine's resources, or what
    /// it does depends on them. `ecall` and `ebreak` are not: they do nothing but trap, in every mode.
    pub sensitive: bool,
    /// The bits that the encoding fixes.
    pub mask: u32,
    /// Their values; zero outside `mask`.
    pub value: u32,
}

/// Where an instruction's operands lie in its 32-bit encoding (unprivileged spec, "RV32I" and the chapters
/// of the extensions).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// No operands.
    None,
    /// `rd`, `rs1`.
    R1,
    /// `rd`, `rs1`, rounding mode.
    R1Rm,
    /// `rd`, `rs1`, `rs2`.
    R,
    /// `rd`, `rs1`, `rs2`, rounding mode.
    RRm,
    /// `rd`, `rs1`, `rs2`, `rs3`, rounding mode.
    R4,
    /// `rd`, `rs1`, `rs2`, `aq` and `rl`.
    Amo,
    /// As [`Format::Amo`]; `rd` and `rs2` name pairs of registers and must be even.
    AmoPair,
    /// `rd`, `rs1`, 12-bit signed immediate.
    I,
    /// `rd`, `rs1`, shift amount of five or six bits.
    Shift,
    /// `rd`, `rs1`, 12-bit CSR number.
    Csr,
    /// `fm`, predecessor and successor sets.
    Fence,
    /// `rs1`, `rs2`, 12-bit signed immediate.
    S,
    /// `rs1`, 12-bit signed immediate that is a multiple of 32.
    Prefetch,
    /// `rs1`, `rs2`, 13-bit signed even offset.
    B,
    /// `rd`, upper 20 bits of a 32-bit immediate.
    U,
    /// `rd`, 21-bit signed even offset.
    J,
    /// `rd`, `rs1`, number of the may-be-operation.
    Mop,
    /// `rd`, `rs1`, `rs2`, number of the may-be-operation.
    MopRr,
}

impl Format {
    /// Every format.
    pub const ALL: &[Format] = &[
        Format::None,
        Format::R1,
        Format::R1Rm,
        Format::R,
        Format::RRm,
        Format::R4,
        Format::Amo,
        Format::AmoPair,
        Format::I,
        Format::Shift,
        Format::Csr,
        Format::Fence,
        Format::S,
        Format::Prefetch,
        Format::B,
        Format::U,
        Format::J,
        Format::Mop,
        Format::MopRr,
    ];

    /// The letters that stand for this format's operands in a row's pattern.
    ///
    /// `d`, `s`, `t`, `u` are `rd`, `rs1`, `rs2`, `rs3`; `m` is the rounding mode; `q` and `l` are `aq`
    /// and `rl`; `i` is an immediate.
    pub const fn letters(self) -> &'static str {
        match self {
            Format::None => "",
            Format::R1 => "ds",
            Format::R1Rm => "dsm",
            Format::R => "dst",
            Format::RRm => "dstm",
            Format::R4 => "dstum",
            Format::Amo | Format::AmoPair => "dstql",
            Format::I | Format::Shift | Format::Csr | Format::Mop => "dsi",
            Format::Fence => "i",
            Format::S | Format::B => "sti",
            Format::Prefetch => "si",
            Format::U | Format::J => "di",
            Format::MopRr => "dsti",
        }
    }
}

/// What kind of work an instruction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Integer arithmetic, logic and bit manipulation.
    Alu,
    /// Integer multiplication and division.
    MulDiv,
    /// Reads memory into an integer or floating-point register.
    Load,
    /// Writes an integer or floating-point register to memory.
    Store,
    /// Conditional branch.
    Branch,
    /// Unconditional jump.
    Jump,
    /// Atomic memory operation, load-reserved and store-conditional.
    Amo,
    /// Floating-point arithmetic, comparison, conversion and move.
    Float,
    /// Reads or writes a control and status register.
    Csr,
    /// Traps, returns from traps, waits, and fences of the address translation.
    System,
    /// Orders memory accesses or instruction fetches.
    Fence,
    /// Manages a block of the caches.
    Cache,
    /// May be ignored: does nothing to the architectural state.
    Hint,
}

impl Class {
    /// The class's name in the documentation.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Alu => "alu",
            Class::MulDiv => "muldiv",
            Class::Load => "load",
            Class::Store => "store",
            Class::Branch => "branch",
            Class::Jump => "jump",
            Class::Amo => "amo",
            Class::Float => "float",
            Class::Csr => "csr",
            Class::System => "system",
            Class::Fence => "fence",
            Class::Cache => "cache",
            Class::Hint => "hint",
        }
    }
}

macro_rules! extensions {
    ($($variant:ident $title:literal;)*) => {
        /// The extension (or base) of the architecture that an instruction belongs to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Extension {
            $(#[doc = $title] $variant,)*
        }

        impl Extension {
            /// Every extension, in the order of the documentation.
            pub const ALL: &[Extension] = &[$(Extension::$variant,)*];

            /// The name in an ISA string, such as `Zba`.
            pub const fn name(self) -> &'static str {
                match self { $(Extension::$variant => stringify!($variant),)* }
            }

            /// What the extension brings, in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Extension::$variant => $title,)* }
            }
        }
    };
}

extensions! {
    I "Base integer instructions, 64-bit";
    M "Integer multiplication and division";
    A "Atomic memory operations";
    F "Single-precision floating point";
    D "Double-precision floating point";
    C "Compressed instructions";
    Zicsr "Control and status registers";
    Zifencei "Instruction-fetch fence";
    Zihintpause "Pause hint";
    Zihintntl "Non-temporal locality hints";
    Zimop "May-be-operations";
    Zcmop "Compressed may-be-operations";
    Zba "Address generation";
    Zbb "Basic bit manipulation";
    Zbc "Carry-less multiplication";
    Zbs "Single-bit instructions";
    Zicond "Integer conditional operations";
    Zicbom "Cache-block management";
    Zicbop "Cache-block prefetch hints";
    Zicboz "Cache-block zeroing";
    Zawrs "Wait on reservation set";
    Zacas "Atomic compare-and-swap";
    Zfhmin "Half-precision floating point, loads, stores, moves and conversions";
    Zfa "Additional floating-point instructions";
    Zcb "Additional compressed instructions";
    Priv "Privileged architecture";
    Svinval "Fine-grained address-translation cache invalidation";
}

/// The bits of `pattern` that are fixed and their values, for a pattern of `width` bits.
///
/// Panics when the pattern has another width or an unknown character: only called in constants, where
/// that is a compile error.
pub(super) const fn parse_pattern(pattern: &str, width: u32) -> (u32, u32) {
    let bytes = pattern.as_bytes();
    let (mut mask, mut value, mut bits) = (0u32, 0u32, 0u32);
    let mut i = 0;
    while i < bytes.len() {
        let (fixed, one) = match bytes[i] {
            b' ' => {
                i += 1;
                continue;
            }
            b'0' => (1, 0),
            b'1' => (1, 1),
            b'-' | b'a'..=b'z' | b'A'..=b'Z' => (0, 0),
            _ => panic!("a pattern consists of 0, 1, -, letters and blanks"),
        };
        mask = mask << 1 | fixed;
        value = value << 1 | one;
        bits += 1;
        i += 1;
    }
    assert!(bits == width, "the pattern has the wrong width");
    (mask, value)
}
