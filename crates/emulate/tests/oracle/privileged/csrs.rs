//! Random accesses to CSRs.

use clade_riscv::csr::address::*;
use clade_riscv::csr::status;
use clade_riscv::hart::Mode;
use clade_riscv::isa::{Inst, Op};

use super::super::assembler::{blank, word};
use super::super::deliberate;
use super::driver::Field;
use super::{A0, A1, Generator, Record};

/// Those with a meaning, whose legal values are of interest.
const NUMBERS: &[u16] = &[
    FFLAGS,
    FRM,
    FCSR,
    CYCLE,
    TIME,
    INSTRET,
    SSTATUS,
    SSTATUS,
    SIE,
    SIP,
    STVEC,
    SCOUNTEREN,
    SENVCFG,
    SSTATEEN0,
    SSTATEEN3,
    SSCRATCH,
    SEPC,
    SCAUSE,
    STVAL,
    STIMECMP,
    SATP,
    SATP,
    MSTATUS,
    MSTATUS,
    MISA,
    MEDELEG,
    MIDELEG,
    MIE,
    MIP,
    MTVEC,
    MCOUNTEREN,
    MENVCFG,
    MSTATEEN0,
    MSTATEEN3,
    MCOUNTINHIBIT,
    MSCRATCH,
    MEPC,
    MCAUSE,
    MTVAL,
    MHARTID,
    0x3a1,
    0x3a2,
    0x3bf,
];

impl Generator {
    /// An access to a CSR in `mode`, and then a look at what it holds.
    pub(super) fn csr(&mut self, mut record: Record, mode: Mode) {
        let number = match self.random.below(4) {
            0 => self.random.below(4096) as u16,
            _ => self.random.pick(NUMBERS),
        };
        if deliberate::is_different_csr(number) || is_dangerous(number, mode) {
            return;
        }
        let different = deliberate::different_bits(number);
        let op = match different {
            0 => self.random.pick(&[
                Op::Csrrw,
                Op::Csrrw,
                Op::Csrrs,
                Op::Csrrc,
                Op::Csrrwi,
                Op::Csrrsi,
                Op::Csrrci,
            ]),
            u64::MAX => Op::Csrrs,
            _ => self.random.pick(&[Op::Csrrw, Op::Csrrs, Op::Csrrc]),
        };
        let rs1 = if matches!(op, Op::Csrrwi | Op::Csrrsi | Op::Csrrci) {
            self.random.pick(&[0, 0, 1, 17, 31])
        } else if different == u64::MAX || self.random.chance(1, 4) {
            0
        } else {
            A1
        };
        let value = match self.random.below(3) {
            0 => self.random.bits(),
            1 => 1 << self.random.below(64),
            _ => u64::MAX << self.random.below(64),
        };
        record[Field::A1 as usize] = match number {
            // Time passes differently, so deadlines are over or far off.
            STIMECMP => self.random.pick(&[0, u64::MAX, 1 << 60]),
            // A locked entry could take the driver's memory away from it.
            0x3a0..=0x3af => value & 0x7f7f_7f7f_7f7f_7f7f,
            _ => value & !different,
        };
        // What time it is differs, but not who may know it.
        let [old, new] = if number == TIME { [0, 0] } else { [A1, A0] };
        let access = Inst {
            rd: old,
            rs1,
            imm: i32::from(number),
            ..blank(op)
        };
        // `mtvec` must be right again before the next trap.
        let look = if number == MTVEC && mode == Mode::Machine {
            Inst {
                rd: A0,
                rs1: 8,
                imm: i32::from(number),
                ..blank(Op::Csrrw)
            }
        } else {
            Inst {
                rd: new,
                imm: i32::from(number),
                ..blank(Op::Csrrs)
            }
        };
        record[Field::Mstatus as usize] &= !(status::SIE | status::MIE);
        self.execute(record, mode, &[word(access), word(look)]);
    }
}

/// Accesses that could take the ground from under the driver.
fn is_dangerous(number: u16, mode: Mode) -> bool {
    match number {
        PMPCFG0 | PMPADDR0 => true,
        // With other tables the next instruction is not there.
        SATP => mode == Mode::Supervisor,
        _ => false,
    }
}
