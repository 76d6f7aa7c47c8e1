//! Random instructions that only more privileged modes may execute, and interrupts.

use clade_riscv::csr::status;
use clade_riscv::hart::Mode;
use clade_riscv::isa::Op;
use clade_riscv::trap::interrupt;

use super::super::assembler::{blank, word};
use super::driver::Field;
use super::{A0, A1, Generator, Record};

impl Generator {
    /// A return, a wait, a fence or a call in `mode`.
    pub(super) fn system(&mut self, mut record: Record, mode: Mode) {
        let op = self.random.pick(&[
            Op::Mret,
            Op::Mret,
            Op::Sret,
            Op::Sret,
            Op::Wfi,
            Op::SfenceVma,
            Op::SinvalVma,
            Op::SfenceWInval,
            Op::SfenceInvalIr,
            Op::Ecall,
            Op::Ebreak,
            Op::WrsSto,
            Op::WrsNto,
        ]);
        let mut raw = word(blank(op));
        match op {
            Op::SfenceVma | Op::SinvalVma => {
                raw |= u32::from(self.random.pick(&[0, A0])) << 15;
                raw |= u32::from(self.random.pick(&[0, A1])) << 20;
            }
            Op::Wfi => {
                // Something must end the wait.
                record[Field::Mie as usize] |= interrupt::SSI;
                record[Field::Mip as usize] |= interrupt::SSI;
            }
            // Where TW limits the wait Spike traps at once; Clade's wait ends within any limit (Zawrs).
            Op::WrsNto => record[Field::Mstatus as usize] &= !status::TW,
            Op::Mret if mode == Mode::Machine => {
                // Entered by a jump, so that MPP is ours to choose.
                let to = self
                    .random
                    .pick(&[Mode::User, Mode::Supervisor, Mode::Machine]);
                record[Field::Jump as usize] = super::MPRV_JUMP;
                record[Field::Mstatus as usize] |= (to as u64) << status::MPP_SHIFT;
                if self.random.chance(1, 2) {
                    record[Field::Mstatus as usize] |= status::MPRV;
                }
            }
            _ => {}
        }
        self.execute(record, mode, &[raw]);
    }

    /// Pends and enables interrupts.
    pub(super) fn disturb_with_interrupts(&mut self, record: &mut Record) {
        let random = &mut self.random;
        if random.chance(1, 2) {
            record[Field::Mstatus as usize] |= random.bits() & (status::SIE | status::MIE);
            record[Field::Mie as usize] = random.bits() & interrupt::ALL;
            record[Field::Mip as usize] = random.bits() & interrupt::SUPERVISOR;
        }
        if random.chance(3, 4) {
            record[Field::Stimecmp as usize] = u64::MAX;
        }
    }
}
