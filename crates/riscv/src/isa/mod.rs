//! The instruction set: one declarative table, and all that is made from it.
//!
//! `table` lists every 32-bit instruction and `compressed` every 16-bit one. From those rows come
//! the [`Op`] enumeration, [`decode`], [`encode`], the disassembler ([`Inst`]'s `Display` and
//! [`disassemble`]) and `docs/isa.md` ([`markdown`]). To add an instruction, add its row.

mod compressed;
mod csr_names;
mod decode;
mod disassemble;
mod encode;
mod layout;
mod markdown;
mod spec;
mod table;

pub use compressed::{COMPRESSED, CompressedSpec};
pub use csr_names::csr_name;
pub use decode::decode;
pub use disassemble::disassemble;
pub use encode::encode;
pub use markdown::markdown;
pub use spec::{Class, Extension, Format, Spec};
pub use table::Op;

/// A decoded instruction: which operation, and its operands in one layout for all formats.
///
/// A register field that the instruction does not have is 0. Integer and floating-point registers
/// share the same fields: [`Op`] says which file each of them names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inst {
    /// The operation. A compressed instruction has that of the base instruction it expands to.
    pub op: Op,
    /// Destination register, 0..=31.
    pub rd: u8,
    /// First source register, 0..=31; the 5-bit immediate of `csrr*i`; the constant's index of `fli.*`.
    pub rs1: u8,
    /// Second source register, 0..=31.
    pub rs2: u8,
    /// Third source register of the fused multiply-adds, 0..=31.
    pub rs3: u8,
    /// Floating point: the rounding mode, 0..=4 static or 7 for `frm`'s, and 0 where the encoding has
    /// none. Atomics: `aq` in bit 1 and `rl` in bit 0.
    pub rm: u8,
    /// Length in memory in bytes: 2 or 4.
    pub len: u8,
    /// The immediate as the semantics use it: sign-extended; for `lui` and `auipc` already shifted
    /// left by 12; for branches and jumps the offset in bytes; for shifts the amount; for CSR
    /// instructions the CSR's number, 0..=4095; for `fence` `fm << 8 | pred << 4 | succ`.
    pub imm: i32,
}
