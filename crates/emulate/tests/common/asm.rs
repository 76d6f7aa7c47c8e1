//! A small assembler over the instruction table, with labels.

use std::collections::BTreeMap;

use clade_riscv::isa::{Inst, Op, encode};

pub const ZERO: u8 = 0;
pub const RA: u8 = 1;
pub const SP: u8 = 2;
pub const T0: u8 = 5;
pub const T1: u8 = 6;
pub const T2: u8 = 7;
pub const S0: u8 = 8;
pub const S1: u8 = 9;
pub const A0: u8 = 10;
pub const A1: u8 = 11;
pub const A2: u8 = 12;
pub const A3: u8 = 13;
pub const A4: u8 = 14;
pub const A5: u8 = 15;
pub const A6: u8 = 16;
pub const A7: u8 = 17;
pub const S2: u8 = 18;
pub const S3: u8 = 19;
pub const S4: u8 = 20;
pub const S5: u8 = 21;
pub const S6: u8 = 22;
pub const S7: u8 = 23;
pub const T3: u8 = 28;
pub const T4: u8 = 29;
pub const T5: u8 = 30;
pub const T6: u8 = 31;

const BLANK: Inst = Inst {
    op: Op::Addi,
    rd: 0,
    rs1: 0,
    rs2: 0,
    rs3: 0,
    rm: 0,
    len: 4,
    imm: 0,
};

/// The word of `inst`.
pub fn word(inst: Inst) -> u32 {
    encode(&inst).unwrap_or_else(|| panic!("{inst:?} has an operand that does not fit"))
}

/// An instruction with two registers and an immediate, such as `addi` or `ld`.
pub fn immediate(op: Op, rd: u8, rs1: u8, imm: i32) -> u32 {
    word(Inst {
        op,
        rd,
        rs1,
        imm,
        ..BLANK
    })
}

/// A program under construction at a fixed address.
pub struct Asm {
    base: u64,
    code: Vec<u8>,
    labels: BTreeMap<String, u64>,
    references: Vec<(usize, Inst, String)>,
}

impl Asm {
    pub fn new(base: u64) -> Self {
        Self {
            base,
            code: Vec::new(),
            labels: BTreeMap::new(),
            references: Vec::new(),
        }
    }

    /// The address of the next instruction.
    pub fn here(&self) -> u64 {
        self.base + self.code.len() as u64
    }

    pub fn label(&mut self, name: &str) -> &mut Self {
        let old = self.labels.insert(name.to_owned(), self.here());
        assert_eq!(old, None, "label {name} twice");
        self
    }

    /// The address of a label that was defined.
    pub fn address(&self, name: &str) -> u64 {
        self.labels[name]
    }

    pub fn word(&mut self, word: u32) -> &mut Self {
        self.code.extend(word.to_le_bytes());
        self
    }

    pub fn half(&mut self, half: u16) -> &mut Self {
        self.code.extend(half.to_le_bytes());
        self
    }

    /// Pads with `c.nop` until `here` is `address`.
    pub fn pad_to(&mut self, address: u64) -> &mut Self {
        const C_NOP: u16 = 1;
        assert!(self.here() <= address);
        while self.here() < address {
            self.half(C_NOP);
        }
        self
    }

    /// No operands.
    pub fn op(&mut self, op: Op) -> &mut Self {
        self.word(word(Inst { op, ..BLANK }))
    }

    /// Register-register, AMOs (`rs1` is the address) and `sfence.vma` too.
    pub fn r(&mut self, op: Op, rd: u8, rs1: u8, rs2: u8) -> &mut Self {
        self.word(word(Inst {
            op,
            rd,
            rs1,
            rs2,
            ..BLANK
        }))
    }

    /// Register-immediate and loads.
    pub fn i(&mut self, op: Op, rd: u8, rs1: u8, imm: i32) -> &mut Self {
        self.word(immediate(op, rd, rs1, imm))
    }

    /// Stores of `rs2`.
    pub fn s(&mut self, op: Op, rs2: u8, rs1: u8, imm: i32) -> &mut Self {
        self.word(word(Inst {
            op,
            rs1,
            rs2,
            imm,
            ..BLANK
        }))
    }

    /// `fence` with predecessor and successor sets (bits i, o, r, w from the top).
    pub fn fence(&mut self, pred: i32, succ: i32) -> &mut Self {
        self.word(word(Inst {
            op: Op::Fence,
            imm: pred << 4 | succ,
            ..BLANK
        }))
    }

    /// Conditional branch.
    pub fn b(&mut self, op: Op, rs1: u8, rs2: u8, target: &str) -> &mut Self {
        self.reference(
            Inst {
                op,
                rs1,
                rs2,
                ..BLANK
            },
            target,
        )
    }

    pub fn jal(&mut self, rd: u8, target: &str) -> &mut Self {
        self.reference(
            Inst {
                op: Op::Jal,
                rd,
                ..BLANK
            },
            target,
        )
    }

    pub fn j(&mut self, target: &str) -> &mut Self {
        self.jal(ZERO, target)
    }

    pub fn ret(&mut self) -> &mut Self {
        self.i(Op::Jalr, ZERO, RA, 0)
    }

    /// The address of a label less than 2 KiB away.
    pub fn la(&mut self, rd: u8, target: &str) -> &mut Self {
        self.i(Op::Auipc, rd, ZERO, 0);
        self.reference(
            Inst {
                op: Op::Addi,
                rd,
                rs1: rd,
                ..BLANK
            },
            target,
        )
    }

    fn reference(&mut self, inst: Inst, target: &str) -> &mut Self {
        self.references
            .push((self.code.len(), inst, target.to_owned()));
        self.word(0)
    }

    /// Any 64-bit constant.
    pub fn li(&mut self, rd: u8, value: u64) -> &mut Self {
        let value = value as i64;
        let low = (value << 52 >> 52) as i32;
        if i64::from(low) == value {
            return self.i(Op::Addi, rd, ZERO, low);
        }
        let rest = value.wrapping_sub(i64::from(low));
        if let Ok(upper) = i32::try_from(rest) {
            self.i(Op::Lui, rd, ZERO, upper);
            return match low {
                0 => self,
                _ => self.i(Op::Addiw, rd, rd, low),
            };
        }
        self.li(rd, (rest >> 12) as u64);
        self.i(Op::Slli, rd, rd, 12);
        match low {
            0 => self,
            _ => self.i(Op::Addi, rd, rd, low),
        }
    }

    pub fn mv(&mut self, rd: u8, rs1: u8) -> &mut Self {
        self.i(Op::Addi, rd, rs1, 0)
    }

    pub fn addi(&mut self, rd: u8, rs1: u8, imm: i32) -> &mut Self {
        self.i(Op::Addi, rd, rs1, imm)
    }

    pub fn nop(&mut self) -> &mut Self {
        self.addi(ZERO, ZERO, 0)
    }

    pub fn csrr(&mut self, rd: u8, csr: u16) -> &mut Self {
        self.csr(Op::Csrrs, rd, csr, ZERO)
    }

    pub fn csrw(&mut self, csr: u16, rs1: u8) -> &mut Self {
        self.csr(Op::Csrrw, ZERO, csr, rs1)
    }

    pub fn csr(&mut self, op: Op, rd: u8, csr: u16, rs1: u8) -> &mut Self {
        self.i(op, rd, rs1, i32::from(csr))
    }

    /// Stores the low 32 bits of `value` at `address`; clobbers T5 and T6.
    pub fn poke(&mut self, address: u64, value: u64) -> &mut Self {
        self.li(T5, address).li(T6, value).s(Op::Sw, T6, T5, 0)
    }

    /// Ends the program: every vCPU's `run` returns.
    pub fn finish(&mut self) -> &mut Self {
        self.poke(super::machine::FINISHER, 1);
        // An idle loop that never ends: `jal x0, 0`.
        self.word(word(Inst {
            op: Op::Jal,
            ..BLANK
        }))
    }

    /// An SBI call with what is in A0 to A5.
    pub fn sbi(&mut self, extension: u64, function: u64) -> &mut Self {
        self.li(A7, extension).li(A6, function).op(Op::Ecall)
    }

    /// The machine code.
    pub fn bytes(&self) -> Vec<u8> {
        let mut code = self.code.clone();
        for (at, inst, target) in &self.references {
            let to = *self
                .labels
                .get(target)
                .unwrap_or_else(|| panic!("no label {target}"));
            // An `addi` completes the `auipc` four bytes before it.
            let from = match inst.op {
                Op::Addi => self.base + *at as u64 - 4,
                _ => self.base + *at as u64,
            };
            let imm = to.wrapping_sub(from) as i32;
            code[*at..*at + 4].copy_from_slice(&word(Inst { imm, ..*inst }).to_le_bytes());
        }
        code
    }
}
