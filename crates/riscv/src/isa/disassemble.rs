//! From an [`Inst`] or a word to text, in the style of the GNU tools with `-M no-aliases`.
//!
//! The operands of a row are written from these elements, separated by commas:
//!
//! | element | writes |
//! |---|---|
//! | `d` `s` `t` | integer registers `rd`, `rs1`, `rs2` |
//! | `fd` `fs` `ft` `fu` | floating-point registers `rd`, `rs1`, `rs2`, `rs3` |
//! | `(s)` `imm(s)` | a memory operand |
//! | `imm` `uimm` | the immediate, and that in `rs1`, in decimal |
//! | `shamt` `upper` | the shift amount, and bits 31:12 of the immediate, in hexadecimal |
//! | `target` | where a branch or jump leads |
//! | `csr` `pred` `succ` `fli` | a CSR, the sets of a fence, a constant |
//! | `rm` | the rounding mode, left out when dynamic |
//! | `rx` | that of a conversion that is always exact, left out when `rne` |
//!
//! Anything else stands for itself.

use std::fmt::{self, Write};

use super::compressed;
use super::spec::Format;
use super::{Class, Inst, Op, csr_name, decode};

/// The text of the instruction in `raw`, which stands at address `pc`.
///
/// Compressed instructions keep their own mnemonics. Targets of branches and jumps are absolute. What
/// does not decode comes out as the directive `.insn`.
pub fn disassemble(raw: u32, pc: u64) -> String {
    let Some(inst) = decode(raw) else {
        return match raw & 0b11 {
            0b11 => format!(".insn 4, {raw:#010x}"),
            _ => format!(".insn 2, {:#06x}", raw & 0xffff),
        };
    };
    let (name, operands) = match compressed::find(raw as u16) {
        // Its number is lost in the expansion.
        Some(spec) if spec.mnemonic == "c.mop" => {
            return format!("c.mop.{}", raw >> 7 & 31);
        }
        Some(spec) => (spec.mnemonic, spec.operands),
        None => (inst.op.spec().mnemonic, inst.op.spec().operands),
    };
    let text = Text {
        inst: &inst,
        name,
        operands,
        pc: Some(pc),
        abi_names: false,
    };
    text.to_string()
}

/// Writes the base instruction, with registers by number (`x10`, `f3`) or, in the alternate form `{:#}`, by
/// their names in the ABI (`a0`, `ft3`). Targets of branches and jumps are relative: `.+8`.
impl fmt::Display for Inst {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec = self.op.spec();
        let text = Text {
            inst: self,
            name: spec.mnemonic,
            operands: spec.operands,
            pc: None,
            abi_names: f.alternate(),
        };
        text.fmt(f)
    }
}

/// An instruction and how to write it.
struct Text<'a> {
    inst: &'a Inst,
    name: &'static str,
    operands: &'static str,
    pc: Option<u64>,
    abi_names: bool,
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if is_fence_tso(self.inst) {
            return f.write_str(".tso");
        }
        self.suffix(f)?;
        let mut separator = ' ';
        for element in self
            .operands
            .split(',')
            .filter(|&element| !self.is_omitted(element))
        {
            f.write_char(separator)?;
            self.element(f, element)?;
            separator = ',';
        }
        Ok(())
    }
}

impl Text<'_> {
    /// What follows the mnemonic: the ordering of an atomic, the number of a may-be-operation.
    fn suffix(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spec = self.inst.op.spec();
        match (spec.class, spec.format) {
            (Class::Amo, _) => f.write_str(["", ".rl", ".aq", ".aqrl"][self.inst.rm as usize & 3]),
            (_, Format::Mop | Format::MopRr) => write!(f, ".{}", self.inst.imm),
            _ => Ok(()),
        }
    }

    fn is_omitted(&self, element: &str) -> bool {
        match element {
            "rm" => self.inst.rm == 7,
            "rx" => self.inst.rm == 0,
            _ => element.is_empty(),
        }
    }

    fn element(&self, f: &mut fmt::Formatter<'_>, element: &str) -> fmt::Result {
        let inst = self.inst;
        match element {
            "d" => self.integer(f, inst.rd),
            "s" => self.integer(f, inst.rs1),
            "t" => self.integer(f, inst.rs2),
            "fd" => self.float(f, inst.rd),
            "fs" => self.float(f, inst.rs1),
            "ft" => self.float(f, inst.rs2),
            "fu" => self.float(f, inst.rs3),
            "(s)" => {
                f.write_char('(')?;
                self.integer(f, inst.rs1)?;
                f.write_char(')')
            }
            "imm(s)" => {
                write!(f, "{}", inst.imm)?;
                self.element(f, "(s)")
            }
            "imm" => write!(f, "{}", inst.imm),
            "uimm" => write!(f, "{}", inst.rs1),
            "shamt" => write!(f, "{:#x}", inst.imm),
            "upper" => write!(f, "{:#x}", inst.imm as u32 >> 12),
            "target" => match self.pc {
                Some(pc) => write!(f, "{:#x}", pc.wrapping_add(inst.imm as i64 as u64)),
                None => write!(f, ".{:+}", inst.imm),
            },
            "csr" => match csr_name(inst.imm as u16) {
                Some(name) => f.write_str(&name),
                None => write!(f, "{:#x}", inst.imm),
            },
            "pred" => fence_set(f, inst.imm >> 4),
            "succ" => fence_set(f, inst.imm),
            "fli" => f.write_str(FLI_CONSTANTS[inst.rs1 as usize & 31]),
            "rm" | "rx" => f.write_str(ROUNDING_MODES[inst.rm as usize & 7]),
            literal => f.write_str(literal),
        }
    }

    fn integer(&self, f: &mut fmt::Formatter<'_>, register: u8) -> fmt::Result {
        match self.abi_names {
            true => f.write_str(INTEGER_NAMES[register as usize & 31]),
            false => write!(f, "x{register}"),
        }
    }

    fn float(&self, f: &mut fmt::Formatter<'_>, register: u8) -> fmt::Result {
        match self.abi_names {
            true => f.write_str(FLOAT_NAMES[register as usize & 31]),
            false => write!(f, "f{register}"),
        }
    }
}

/// `fence.tso` is `fence rw,rw` with `fm` = 8 (unprivileged spec, "Memory Ordering Instructions").
fn is_fence_tso(inst: &Inst) -> bool {
    inst.op == Op::Fence && inst.imm == 0x833
}

/// The kinds of access that a fence orders; `0` when it orders none.
fn fence_set(f: &mut fmt::Formatter<'_>, set: i32) -> fmt::Result {
    if set & 15 == 0 {
        return f.write_char('0');
    }
    for (bit, kind) in [(8, 'i'), (4, 'o'), (2, 'r'), (1, 'w')] {
        if set & bit != 0 {
            f.write_char(kind)?;
        }
    }
    Ok(())
}

/// By the rounding mode's number; 5 and 6 are reserved.
const ROUNDING_MODES: [&str; 8] = ["rne", "rtz", "rdn", "rup", "rmm", "rm5", "rm6", "dyn"];

/// The constants of `fli.*` by index (unprivileged spec, "Zfa": "Load-Immediate Instructions").
#[rustfmt::skip]
const FLI_CONSTANTS: [&str; 32] = [
    "-1", "min", "1.52587890625e-05", "3.0517578125e-05", "0.00390625", "0.0078125", "0.0625", "0.125",
    "0.25", "0.3125", "0.375", "0.4375", "0.5", "0.625", "0.75", "0.875",
    "1", "1.25", "1.5", "1.75", "2", "2.5", "3", "4",
    "8", "16", "128", "256", "32768", "65536", "inf", "nan",
];

#[rustfmt::skip]
const INTEGER_NAMES: [&str; 32] = [
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5",
    "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
];

#[rustfmt::skip]
const FLOAT_NAMES: [&str; 32] = [
    "ft0", "ft1", "ft2", "ft3", "ft4", "ft5", "ft6", "ft7", "fs0", "fs1", "fa0", "fa1", "fa2", "fa3",
    "fa4", "fa5", "fa6", "fa7", "fs2", "fs3", "fs4", "fs5", "fs6", "fs7", "fs8", "fs9", "fs10",
    "fs11", "ft8", "ft9", "ft10", "ft11",
];
