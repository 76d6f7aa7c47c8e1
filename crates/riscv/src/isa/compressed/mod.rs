//! The table of the 16-bit instructions (unprivileged spec, "C", "Zc*" and "Zcmop"), and their expansion.
//!
//! A row reads: mnemonic, encoding, where `rd`, `rs1`, `rs2` and the immediate of the base instruction come
//! from, the operands as the assembler writes them, extension, and the base operation. In an encoding the
//! letters are those of the base table, and `d` stands for `rs1` too where the two are the same. Capital
//! letters mark bits of which at least one must be set: the encodings with all of them clear are reserved,
//! or belong to another row.

mod immediate;

use immediate::Immediate;

use super::spec::{Extension, parse_pattern};
use super::{Inst, Op};

/// One row of the table of compressed instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompressedSpec {
    /// The assembler's name, such as `c.addi`.
    pub mnemonic: &'static str,
    /// The encoding, as in [`super::Spec::pattern`]; capital letters must not all be 0.
    pub pattern: &'static str,
    rd: Register,
    rs1: Register,
    rs2: Register,
    immediate: Immediate,
    /// The operands as the assembler writes them, separated by commas.
    pub operands: &'static str,
    /// The extension that brings the instruction.
    pub extension: Extension,
    /// The base operation that it expands to.
    pub op: Op,
    /// The bits that the encoding fixes.
    pub mask: u16,
    /// Their values; zero outside `mask`.
    pub value: u16,
    /// Bits of which at least one is set, or 0 where there is no such condition.
    pub nonzero: u16,
}

impl CompressedSpec {
    /// Whether `raw` is this instruction, unless a row that fixes more bits matches it too.
    pub const fn matches(&self, raw: u16) -> bool {
        raw & self.mask == self.value && (self.nonzero == 0 || raw & self.nonzero != 0)
    }
}

/// Where a register of the base instruction comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Register {
    /// It is x0, or the base instruction has none.
    Zero,
    /// It is x1.
    Ra,
    /// It is x2.
    Sp,
    /// Bits 11:7.
    High,
    /// Bits 6:2.
    Low,
    /// Bits 9:7, which name one of x8 to x15.
    High3,
    /// Bits 4:2, which name one of x8 to x15.
    Low3,
}

macro_rules! compressed {
    ($($mnemonic:literal $pattern:literal $rd:ident $rs1:ident $rs2:ident $immediate:ident
       $operands:literal $extension:ident => $op:ident;)*) => {
        /// Every compressed instruction.
        pub static COMPRESSED: [CompressedSpec; [$($mnemonic,)*].len()] = [$({
            let (mask, value) = parse_pattern($pattern, 16);
            CompressedSpec {
                mnemonic: $mnemonic,
                pattern: $pattern,
                rd: Register::$rd,
                rs1: Register::$rs1,
                rs2: Register::$rs2,
                immediate: Immediate::$immediate,
                operands: $operands,
                extension: Extension::$extension,
                op: Op::$op,
                mask: mask as u16,
                value: value as u16,
                nonzero: capitals($pattern),
            }
        },)*];
    };
}

compressed! {
    // Quadrant 0
    "c.addi4spn" "000 IIIIIIII ddd 00"    Low3  Sp    Zero Addi4spn      "d,s,imm"   C         => Addi;
    "c.fld"      "001 iii sss ii ddd 00"  Low3  High3 Zero Double        "fd,imm(s)" C         => Fld;
    "c.lw"       "010 iii sss ii ddd 00"  Low3  High3 Zero Word          "d,imm(s)"  C         => Lw;
    "c.ld"       "011 iii sss ii ddd 00"  Low3  High3 Zero Double        "d,imm(s)"  C         => Ld;
    "c.lbu"      "100 000 sss ii ddd 00"  Low3  High3 Zero Byte          "d,imm(s)"  Zcb       => Lbu;
    "c.lhu"      "100 001 sss 0i ddd 00"  Low3  High3 Zero Half          "d,imm(s)"  Zcb       => Lhu;
    "c.lh"       "100 001 sss 1i ddd 00"  Low3  High3 Zero Half          "d,imm(s)"  Zcb       => Lh;
    "c.sb"       "100 010 sss ii ttt 00"  Zero  High3 Low3 Byte          "t,imm(s)"  Zcb       => Sb;
    "c.sh"       "100 011 sss 0i ttt 00"  Zero  High3 Low3 Half          "t,imm(s)"  Zcb       => Sh;
    "c.fsd"      "101 iii sss ii ttt 00"  Zero  High3 Low3 Double        "ft,imm(s)" C         => Fsd;
    "c.sw"       "110 iii sss ii ttt 00"  Zero  High3 Low3 Word          "t,imm(s)"  C         => Sw;
    "c.sd"       "111 iii sss ii ttt 00"  Zero  High3 Low3 Double        "t,imm(s)"  C         => Sd;

    // Quadrant 1
    "c.nop"      "000 0 00000 00000 01"   Zero  Zero  Zero None          ""          C         => Addi;
    "c.addi"     "000 i ddddd iiiii 01"   High  High  Zero Signed6       "d,imm"     C         => Addi;
    "c.addiw"    "001 i DDDDD iiiii 01"   High  High  Zero Signed6       "d,imm"     C         => Addiw;
    "c.li"       "010 i ddddd iiiii 01"   High  Zero  Zero Signed6       "d,imm"     C         => Addi;
    "c.addi16sp" "011 I 00010 IIIII 01"   Sp    Sp    Zero Addi16sp      "d,imm"     C         => Addi;
    "c.lui"      "011 I ddddd IIIII 01"   High  Zero  Zero Upper         "d,upper"   C         => Lui;
    "c.mop"      "011 0 0iii1 00000 01"   Zero  Zero  Zero None          ""          Zcmop     => Addi;
    "c.srli"     "100 i 00 ddd iiiii 01"  High3 High3 Zero Unsigned6     "d,shamt"   C         => Srli;
    "c.srai"     "100 i 01 ddd iiiii 01"  High3 High3 Zero Unsigned6     "d,shamt"   C         => Srai;
    "c.andi"     "100 i 10 ddd iiiii 01"  High3 High3 Zero Signed6       "d,imm"     C         => Andi;
    "c.sub"      "100 0 11 ddd 00 ttt 01" High3 High3 Low3 None          "d,t"       C         => Sub;
    "c.xor"      "100 0 11 ddd 01 ttt 01" High3 High3 Low3 None          "d,t"       C         => Xor;
    "c.or"       "100 0 11 ddd 10 ttt 01" High3 High3 Low3 None          "d,t"       C         => Or;
    "c.and"      "100 0 11 ddd 11 ttt 01" High3 High3 Low3 None          "d,t"       C         => And;
    "c.subw"     "100 1 11 ddd 00 ttt 01" High3 High3 Low3 None          "d,t"       C         => Subw;
    "c.addw"     "100 1 11 ddd 01 ttt 01" High3 High3 Low3 None          "d,t"       C         => Addw;
    "c.mul"      "100 1 11 ddd 10 ttt 01" High3 High3 Low3 None          "d,t"       Zcb       => Mul;
    "c.zext.b"   "100 1 11 ddd 11 000 01" High3 High3 Zero LowByte       "d"         Zcb       => Andi;
    "c.sext.b"   "100 1 11 ddd 11 001 01" High3 High3 Zero None          "d"         Zcb       => SextB;
    "c.zext.h"   "100 1 11 ddd 11 010 01" High3 High3 Zero None          "d"         Zcb       => ZextH;
    "c.sext.h"   "100 1 11 ddd 11 011 01" High3 High3 Zero None          "d"         Zcb       => SextH;
    "c.zext.w"   "100 1 11 ddd 11 100 01" High3 High3 Zero None          "d"         Zcb       => AddUw;
    "c.not"      "100 1 11 ddd 11 101 01" High3 High3 Zero AllOnes       "d"         Zcb       => Xori;
    "c.j"        "101 iiiiiiiiiii 01"     Zero  Zero  Zero Jump          "target"    C         => Jal;
    "c.beqz"     "110 iii sss iiiii 01"   Zero  High3 Zero Branch        "s,target"  C         => Beq;
    "c.bnez"     "111 iii sss iiiii 01"   Zero  High3 Zero Branch        "s,target"  C         => Bne;

    // Quadrant 2
    "c.slli"     "000 i ddddd iiiii 10"   High  High  Zero Unsigned6     "d,shamt"   C         => Slli;
    "c.fldsp"    "001 i ddddd iiiii 10"   High  Sp    Zero LoadSpDouble  "fd,imm(s)" C         => Fld;
    "c.lwsp"     "010 i DDDDD iiiii 10"   High  Sp    Zero LoadSpWord    "d,imm(s)"  C         => Lw;
    "c.ldsp"     "011 i DDDDD iiiii 10"   High  Sp    Zero LoadSpDouble  "d,imm(s)"  C         => Ld;
    "c.jr"       "100 0 SSSSS 00000 10"   Zero  High  Zero None          "s"         C         => Jalr;
    "c.mv"       "100 0 ddddd TTTTT 10"   High  Zero  Low  None          "d,t"       C         => Add;
    "c.ebreak"   "100 1 00000 00000 10"   Zero  Zero  Zero None          ""          C         => Ebreak;
    "c.jalr"     "100 1 SSSSS 00000 10"   Ra    High  Zero None          "s"         C         => Jalr;
    "c.ntl.p1"   "100 1 00000 00010 10"   Zero  Zero  Zero None          ""          Zihintntl => NtlP1;
    "c.ntl.pall" "100 1 00000 00011 10"   Zero  Zero  Zero None          ""          Zihintntl => NtlPall;
    "c.ntl.s1"   "100 1 00000 00100 10"   Zero  Zero  Zero None          ""          Zihintntl => NtlS1;
    "c.ntl.all"  "100 1 00000 00101 10"   Zero  Zero  Zero None          ""          Zihintntl => NtlAll;
    "c.add"      "100 1 ddddd TTTTT 10"   High  High  Low  None          "d,t"       C         => Add;
    "c.fsdsp"    "101 iiiiii ttttt 10"    Zero  Sp    Low  StoreSpDouble "ft,imm(s)" C         => Fsd;
    "c.swsp"     "110 iiiiii ttttt 10"    Zero  Sp    Low  StoreSpWord   "t,imm(s)"  C         => Sw;
    "c.sdsp"     "111 iiiiii ttttt 10"    Zero  Sp    Low  StoreSpDouble "t,imm(s)"  C         => Sd;
}

/// The bits that stand under capital letters.
const fn capitals(pattern: &str) -> u16 {
    let bytes = pattern.as_bytes();
    let (mut bits, mut i) = (0, 0);
    while i < bytes.len() {
        if bytes[i] != b' ' {
            bits = bits << 1 | bytes[i].is_ascii_uppercase() as u16;
        }
        i += 1;
    }
    bits
}

/// Decodes a 16-bit instruction into the base instruction that it expands to.
#[inline]
pub(super) fn decode(raw: u16) -> Option<Inst> {
    let spec = find(raw)?;
    // All sources of a register side by side, to pick from without a branch.
    let word = u64::from(raw);
    let registers = 1 << 8
        | 2 << 16
        | (word >> 7 & 31) << 24
        | (word >> 2 & 31) << 32
        | (word >> 7 & 7 | 8) << 40
        | (word >> 2 & 7 | 8) << 48;
    let register = |source: Register| (registers >> (8 * source as u32)) as u8;
    Some(Inst {
        op: spec.op,
        rd: register(spec.rd),
        rs1: register(spec.rs1),
        rs2: register(spec.rs2),
        rs3: 0,
        rm: 0,
        len: 2,
        imm: spec.immediate.of(raw),
    })
}

/// The row that `raw` belongs to.
#[inline]
pub(super) fn find(raw: u16) -> Option<&'static CompressedSpec> {
    COMPRESSED.get(usize::from(ROWS[usize::from(raw)]))
}

/// The row of each word, [`ILLEGAL`] where there is none.
static ROWS: [u8; 1 << 16] = build_rows();

const ILLEGAL: u8 = u8::MAX;

const fn build_rows() -> [u8; 1 << 16] {
    let mut rows = [ILLEGAL; 1 << 16];
    let mut fixed_bits = 0;
    while fixed_bits <= 16 {
        let mut row = 0;
        while row < COMPRESSED.len() {
            if COMPRESSED[row].mask.count_ones() == fixed_bits {
                assign(&mut rows, row);
            }
            row += 1;
        }
        fixed_bits += 1;
    }
    rows
}

/// Gives all words that `row` matches to it, also those that a row with fewer fixed bits had.
const fn assign(rows: &mut [u8; 1 << 16], row: usize) {
    let spec = &COMPRESSED[row];
    let free = !spec.mask;
    let mut operands = 0u16;
    loop {
        let word = spec.value | operands;
        if spec.matches(word) {
            rows[word as usize] = row as u8;
        }
        // The next number whose bits lie in `free`.
        operands = operands.wrapping_sub(free) & free;
        if operands == 0 {
            break;
        }
    }
}
