//! Puts instructions into memory.

use clade_riscv::isa::{Inst, Op, encode};

/// Code and data from `base` on, growing.
pub(crate) struct Assembler {
    base: u64,
    pub(crate) bytes: Vec<u8>,
}

/// An instruction with all operands zero, to be filled in by struct update.
pub(crate) const fn blank(op: Op) -> Inst {
    Inst {
        op,
        rd: 0,
        rs1: 0,
        rs2: 0,
        rs3: 0,
        rm: 0,
        len: 4,
        imm: 0,
    }
}

/// The 32-bit encoding of an instruction that is known to have one.
pub(crate) fn word(inst: Inst) -> u32 {
    encode(&inst).unwrap_or_else(|| panic!("{inst:?} cannot be encoded"))
}

impl Assembler {
    pub(crate) fn new(base: u64) -> Self {
        Self {
            base,
            bytes: Vec::new(),
        }
    }

    /// The address of what comes next.
    pub(crate) fn here(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    pub(crate) fn word(&mut self, word: u32) {
        self.bytes.extend(word.to_le_bytes());
    }

    pub(crate) fn half(&mut self, half: u16) {
        self.bytes.extend(half.to_le_bytes());
    }

    pub(crate) fn double(&mut self, value: u64) {
        self.bytes.extend(value.to_le_bytes());
    }

    /// Replaces the 32-bit instruction at `address`.
    pub(crate) fn patch(&mut self, address: u64, word: u32) {
        let at = (address - self.base) as usize;
        self.bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
    }

    /// The 32-bit instruction at `address`.
    pub(crate) fn word_at(&self, address: u64) -> u32 {
        let at = (address - self.base) as usize;
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().expect("four bytes"))
    }

    /// Replaces the 16-bit instruction at `address`.
    pub(crate) fn patch_half(&mut self, address: u64, half: u16) {
        let at = (address - self.base) as usize;
        self.bytes[at..at + 2].copy_from_slice(&half.to_le_bytes());
    }

    /// Fills with zeroes up to `address`.
    pub(crate) fn skip_to(&mut self, address: u64) {
        assert!(address >= self.here(), "{address:#x} lies behind");
        self.bytes.resize((address - self.base) as usize, 0);
    }

    pub(crate) fn emit(&mut self, inst: Inst) {
        self.word(word(inst));
    }

    /// `op rd, rs1, imm`: arithmetic with an immediate, a load, a CSR access or `jalr`.
    pub(crate) fn immediate(&mut self, op: Op, rd: u8, rs1: u8, imm: i32) {
        self.emit(Inst {
            rd,
            rs1,
            imm,
            ..blank(op)
        });
    }

    /// `op rs2, imm(rs1)`.
    pub(crate) fn store(&mut self, op: Op, rs2: u8, rs1: u8, imm: i32) {
        self.emit(Inst {
            rs1,
            rs2,
            imm,
            ..blank(op)
        });
    }

    /// `op rd, rs1, rs2`.
    pub(crate) fn registers(&mut self, op: Op, rd: u8, rs1: u8, rs2: u8) {
        self.emit(Inst {
            rd,
            rs1,
            rs2,
            ..blank(op)
        });
    }

    /// A conditional branch to `target`.
    pub(crate) fn branch(&mut self, op: Op, rs1: u8, rs2: u8, target: u64) {
        let imm = target.wrapping_sub(self.here()) as i32;
        self.emit(Inst {
            rs1,
            rs2,
            imm,
            ..blank(op)
        });
    }

    /// `jal rd, target`.
    pub(crate) fn jump(&mut self, rd: u8, target: u64) {
        let imm = target.wrapping_sub(self.here()) as i32;
        self.emit(Inst {
            rd,
            imm,
            ..blank(Op::Jal)
        });
    }

    /// An instruction without operands.
    pub(crate) fn plain(&mut self, op: Op) {
        self.emit(blank(op));
    }

    /// `csrrw rd, number, rs1`.
    pub(crate) fn csr_swap(&mut self, rd: u8, number: u16, rs1: u8) {
        self.immediate(Op::Csrrw, rd, rs1, i32::from(number));
    }

    /// `csrr rd, number`.
    pub(crate) fn csr_read(&mut self, rd: u8, number: u16) {
        self.immediate(Op::Csrrs, rd, 0, i32::from(number));
    }

    /// Loads `address`, which is within 2 GiB of the code, into `rd`: two instructions.
    pub(crate) fn address(&mut self, rd: u8, address: u64) {
        let offset = address.wrapping_sub(self.here()) as i64;
        let upper = (offset + 0x800) >> 12 << 12;
        let imm = i32::try_from(upper).expect("the address is near");
        self.emit(Inst {
            rd,
            imm,
            ..blank(Op::Auipc)
        });
        self.immediate(Op::Addi, rd, rd, (offset - upper) as i32);
    }

    /// Loads a constant into `rd` in at most eight instructions.
    pub(crate) fn constant(&mut self, rd: u8, value: u64) {
        let low = (value as i64) << 52 >> 52;
        let rest = value.wrapping_sub(low as u64);
        if rest == 0 {
            self.immediate(Op::Addi, rd, 0, low as i32);
            return;
        }
        if rest as i64 == i64::from(rest as i32) {
            self.emit(Inst {
                rd,
                imm: rest as i32,
                ..blank(Op::Lui)
            });
            self.immediate(Op::Addi, rd, rd, low as i32);
            return;
        }
        let shift = rest.trailing_zeros().max(12);
        self.constant(rd, ((rest as i64) >> shift) as u64);
        self.immediate(Op::Slli, rd, rd, shift as i32);
        if low != 0 {
            self.immediate(Op::Addi, rd, rd, low as i32);
        }
    }
}
