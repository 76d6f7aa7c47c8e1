//! Which host register holds what, and where generated code finds the rest.
//!
//! The same everywhere, so that any piece of code may jump to any other: eight guest registers live
//! in host registers, the others in the hart's own state, which `rbp` points into. The segment
//! `gs` begins at the TLB's entries for loads and stores.

use std::mem::offset_of;

use clade_riscv::csr::Csrs;
use clade_riscv::hart::Hart;

use super::assembler::{Mem, R8, R9, R10, R11, R12, R14, RBP, RBX, RDI, RSI, Reg};
use crate::core::{Core, Reservation};
use crate::native::JitState;

/// Points into the `Core`, [`BIAS`] bytes behind its beginning.
pub(super) const STATE: Reg = RBP;
/// Instructions that may still be retired, less those of the block that runs.
pub(super) const BUDGET: Reg = R14;
/// Guest registers that live in host registers: those that compilers use most.
pub(super) const PINNED: [(u8, Reg); 8] = [
    (2, RBX),
    (8, R12),
    (10, RSI),
    (11, RDI),
    (12, R8),
    (13, R9),
    (14, R10),
    (15, R11),
];

/// The host register of guest register `x`, if it has one.
pub(super) const fn pinned(x: u8) -> Option<Reg> {
    match x {
        2 => Some(RBX),
        8 => Some(R12),
        10 => Some(RSI),
        11 => Some(RDI),
        12 => Some(R8),
        13 => Some(R9),
        14 => Some(R10),
        15 => Some(R11),
        _ => None,
    }
}

/// Where `rbp` points, so that one byte of displacement reaches every integer register.
pub(super) const BIAS: i32 = (offset_of!(Core, hart) + offset_of!(Hart, x) + 128) as i32;

const fn field(offset: usize) -> Mem {
    Mem {
        base: STATE,
        index: None,
        disp: offset as i32 - BIAS,
        gs: false,
    }
}

/// The state of an integer register that is not pinned.
pub(super) fn x_slot(x: u8) -> Mem {
    field(offset_of!(Core, hart) + offset_of!(Hart, x) + 8 * usize::from(x))
}

/// A floating-point register.
pub(super) fn f_slot(f: u8) -> Mem {
    field(offset_of!(Core, hart) + offset_of!(Hart, f) + 8 * usize::from(f))
}

pub(super) const PC: Mem = field(offset_of!(Core, hart) + offset_of!(Hart, pc));

pub(super) const MODE: Mem = field(offset_of!(Core, hart) + offset_of!(Hart, mode));

const fn csr(offset: usize) -> Mem {
    field(offset_of!(Core, hart) + offset_of!(Hart, csrs) + offset)
}

pub(super) const CSR_SSCRATCH: Mem = csr(offset_of!(Csrs, sscratch));
pub(super) const CSR_SEPC: Mem = csr(offset_of!(Csrs, sepc));
pub(super) const CSR_SCAUSE: Mem = csr(offset_of!(Csrs, scause));
pub(super) const CSR_STVAL: Mem = csr(offset_of!(Csrs, stval));

const fn reservation(offset: usize) -> Mem {
    field(offset_of!(Core, reservation) + offset)
}

pub(super) const RESERVED_HOST: Mem = reservation(offset_of!(Reservation, host));
pub(super) const RESERVED_SIZE: Mem = reservation(offset_of!(Reservation, size));
pub(super) const RESERVED_VALUE: Mem = reservation(offset_of!(Reservation, value));

const fn jit(offset: usize) -> Mem {
    field(offset_of!(Core, jit) + offset)
}

pub(super) const DATA_TLB: Mem = jit(offset_of!(JitState, data_tlb));
pub(super) const JUMPS: Mem = jit(offset_of!(JitState, jumps));
pub(super) const PC_PAGE: Mem = jit(offset_of!(JitState, pc_page));
pub(super) const SAVED_BUDGET: Mem = jit(offset_of!(JitState, budget));
pub(super) const FLOAT_READY: Mem = jit(offset_of!(JitState, float_ready));
pub(super) const ZERO_READY: Mem = jit(offset_of!(JitState, zero_ready));
pub(super) const HOST_MXCSR: Mem = jit(offset_of!(JitState, host_mxcsr));
pub(super) const GUEST_MXCSR: Mem = jit(offset_of!(JitState, guest_mxcsr));
/// MXCSR's rounding control; zero is to nearest.
pub(super) const MXCSR_ROUNDING: i32 = 3 << 13;
pub(super) const LINK_SITE: Mem = jit(offset_of!(JitState, link_site));
pub(super) const LINK_PAGE: Mem = jit(offset_of!(JitState, link_page));

/// Where an instruction is and how it is counted, for code that leaves a block at it: bits 0 to 15
/// are its offset in the page, bits 16 to 31 how many instructions of the block have not retired,
/// itself included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Place(pub(super) u32);

impl Place {
    pub(super) fn new(offset: u16, unretired: u16) -> Self {
        Self(u32::from(unretired) << 16 | u32::from(offset))
    }

    pub(super) fn offset(self) -> u64 {
        u64::from(self.0 & 0xffff)
    }

    pub(super) fn unretired(self) -> u64 {
        u64::from(self.0 >> 16)
    }
}
