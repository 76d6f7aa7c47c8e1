//! A, Zacas and Zawrs' companions: atomics on memory that several harts share.
//!
//! Every one is sequentially consistent, which is at least what its `aq` and `rl` bits ask.

use std::sync::atomic::Ordering::{AcqRel, Acquire, SeqCst};

use clade_riscv::isa::{Inst, Op};
use clade_riscv::mmu::Access;
use clade_riscv::trap::Trap;

use super::ILLEGAL;
use crate::core::{Core, Reservation};
use crate::memory::{HostAddress, atomic_u32, atomic_u64, atomic_u128};

/// The width field (bits 14:12) of an atomic on 32 bits.
const WORD: u32 = 2;

impl Core {
    /// Executes LR, SC, an AMO or a compare-and-swap.
    pub(super) fn execute_atomic(&mut self, inst: &Inst) -> Result<(), Trap> {
        let address = self.x(inst.rs1);
        match inst.op {
            Op::LrW => self.load_reserved(inst, address, 4),
            Op::LrD => self.load_reserved(inst, address, 8),
            Op::ScW => self.store_conditional(inst, address, 4),
            Op::ScD => self.store_conditional(inst, address, 8),
            Op::AmocasQ => self.compare_and_swap_quad(inst, address),
            op if op.spec().value >> 12 & 7 == WORD => {
                let at = self.locate_atomic(address, 4, Access::Write)?;
                let old = self.amo_word(inst, at);
                self.set_w(inst.rd, old);
                Ok(())
            }
            _ => {
                let at = self.locate_atomic(address, 8, Access::Write)?;
                let old = self.amo_double(inst, at);
                self.set_x(inst.rd, old);
                Ok(())
            }
        }
    }

    fn load_reserved(&mut self, inst: &Inst, address: u64, size: u64) -> Result<(), Trap> {
        let host = self.locate_atomic(address, size, Access::Read)?;
        let value = if size == 4 {
            // SAFETY: located just now, aligned, RAM.
            u64::from(unsafe { atomic_u32(host) }.load(SeqCst))
        } else {
            // SAFETY: as above.
            unsafe { atomic_u64(host) }.load(SeqCst)
        };
        self.reservation = Reservation {
            host: host.0,
            size,
            value,
        };
        self.set_x(
            inst.rd,
            if size == 4 {
                value as i32 as u64
            } else {
                value
            },
        );
        Ok(())
    }

    /// Succeeds when the reserved memory still holds what LR saw. (It cannot tell a value that
    /// was changed and changed back; neither can any program that uses LR/SC as a compare and
    /// swap.) The reservation ends either way.
    fn store_conditional(&mut self, inst: &Inst, address: u64, size: u64) -> Result<(), Trap> {
        let at = self.locate_atomic(address, size, Access::Write)?;
        let new = self.x(inst.rs2);
        let reserved = std::mem::take(&mut self.reservation);
        let succeeded = match reserved.value {
            old if reserved.host == at.0 && reserved.size == size => {
                if size == 4 {
                    // SAFETY: located just now, aligned, RAM.
                    let word = unsafe { atomic_u32(at) };
                    word.compare_exchange(old as u32, new as u32, SeqCst, Acquire)
                        .is_ok()
                } else {
                    // SAFETY: as above.
                    let double = unsafe { atomic_u64(at) };
                    double.compare_exchange(old, new, SeqCst, Acquire).is_ok()
                }
            }
            _ => false,
        };
        self.set_x(inst.rd, u64::from(!succeeded));
        Ok(())
    }

    /// Does the AMO on the word at `at`, which was located for writing; returns the old value.
    fn amo_word(&mut self, inst: &Inst, at: HostAddress) -> u32 {
        // SAFETY: the caller located it: aligned, RAM.
        let word = unsafe { atomic_u32(at) };
        let operand = self.x(inst.rs2) as u32;
        // SAFETY: a signed view of the same word.
        let signed = || unsafe { std::sync::atomic::AtomicI32::from_ptr(word.as_ptr().cast()) };
        match inst.op {
            Op::AmoswapW => word.swap(operand, SeqCst),
            Op::AmoaddW => word.fetch_add(operand, SeqCst),
            Op::AmoxorW => word.fetch_xor(operand, SeqCst),
            Op::AmoandW => word.fetch_and(operand, SeqCst),
            Op::AmoorW => word.fetch_or(operand, SeqCst),
            Op::AmominW => signed().fetch_min(operand as i32, SeqCst) as u32,
            Op::AmomaxW => signed().fetch_max(operand as i32, SeqCst) as u32,
            Op::AmominuW => word.fetch_min(operand, SeqCst),
            Op::AmomaxuW => word.fetch_max(operand, SeqCst),
            Op::AmocasW => {
                let expected = self.x(inst.rd) as u32;
                either(word.compare_exchange(expected, operand, SeqCst, Acquire))
            }
            other => unreachable!("{other:?} is not an AMO on a word"),
        }
    }

    /// As [`Core::amo_word`], on the doubleword at `at`.
    fn amo_double(&mut self, inst: &Inst, at: HostAddress) -> u64 {
        // SAFETY: the caller located it: aligned, RAM.
        let double = unsafe { atomic_u64(at) };
        let operand = self.x(inst.rs2);
        // SAFETY: a signed view of the same doubleword.
        let signed = || unsafe { std::sync::atomic::AtomicI64::from_ptr(double.as_ptr().cast()) };
        match inst.op {
            Op::AmoswapD => double.swap(operand, SeqCst),
            Op::AmoaddD => double.fetch_add(operand, SeqCst),
            Op::AmoxorD => double.fetch_xor(operand, SeqCst),
            Op::AmoandD => double.fetch_and(operand, SeqCst),
            Op::AmoorD => double.fetch_or(operand, SeqCst),
            Op::AmominD => signed().fetch_min(operand as i64, SeqCst) as u64,
            Op::AmomaxD => signed().fetch_max(operand as i64, SeqCst) as u64,
            Op::AmominuD => double.fetch_min(operand, SeqCst),
            Op::AmomaxuD => double.fetch_max(operand, SeqCst),
            Op::AmocasD => {
                let expected = self.x(inst.rd);
                either(double.compare_exchange(expected, operand, SeqCst, Acquire))
            }
            other => unreachable!("{other:?} is not an AMO on a doubleword"),
        }
    }

    /// `amocas.q`: register pairs, of which only even numbers exist; the pair at x0 reads as
    /// zero and is not written (Zacas).
    fn compare_and_swap_quad(&mut self, inst: &Inst, address: u64) -> Result<(), Trap> {
        if inst.rd & 1 != 0 || inst.rs2 & 1 != 0 {
            return Err(ILLEGAL);
        }
        let at = self.locate_atomic(address, 16, Access::Write)?;
        let pair = |core: &Self, register: u8| match register {
            0 => 0,
            _ => u128::from(core.x(register)) | u128::from(core.x(register + 1)) << 64,
        };
        let (expected, new) = (pair(self, inst.rd), pair(self, inst.rs2));
        // SAFETY: located just now, aligned to 16, RAM.
        let quad = unsafe { atomic_u128(at) };
        let old = either(quad.compare_exchange(expected, new, AcqRel, Acquire));
        if inst.rd != 0 {
            self.set_x(inst.rd, old as u64);
            self.set_x(inst.rd + 1, (old >> 64) as u64);
        }
        Ok(())
    }
}

/// The old value, whether or not the exchange happened.
fn either<T>(result: Result<T, T>) -> T {
    result.unwrap_or_else(|old| old)
}
