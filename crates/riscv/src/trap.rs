//! Traps: exceptions and interrupts, where they go and how they return (privileged spec 3.1.6-3.1.15,
//! 3.3.2 and 12.1).

use serde::{Deserialize, Serialize};

use crate::csr::{Csrs, status};
use crate::hart::{Hart, Mode};

/// A synchronous exception, by its code in `mcause` (privileged spec, table 14).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[repr(u8)]
#[allow(missing_docs)] // The names are the specification's own.
pub enum Exception {
    InstructionAddressMisaligned = 0,
    InstructionAccessFault = 1,
    IllegalInstruction = 2,
    Breakpoint = 3,
    LoadAddressMisaligned = 4,
    LoadAccessFault = 5,
    StoreAddressMisaligned = 6,
    StoreAccessFault = 7,
    EcallFromU = 8,
    EcallFromS = 9,
    EcallFromM = 11,
    InstructionPageFault = 12,
    LoadPageFault = 13,
    StorePageFault = 15,
}

/// The delegable exceptions, as the bits of `medeleg` that can be set. Not those that cannot occur in a
/// less privileged mode (3.1.8): with 16-bit instructions no fetch is misaligned.
pub const DELEGABLE_EXCEPTIONS: u64 = 0xb3fe;

/// An exception together with what goes into `xtval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trap {
    /// What happened.
    pub cause: Exception,
    /// The faulting address or instruction, or 0.
    pub value: u64,
}

impl Trap {
    /// A trap with an explicit `xtval`.
    #[inline]
    pub const fn new(cause: Exception, value: u64) -> Self {
        Self { cause, value }
    }

    /// An illegal instruction, whose bits are reported in `xtval`.
    #[inline]
    pub const fn illegal(raw: u32) -> Self {
        Self::new(Exception::IllegalInstruction, raw as u64)
    }
}

/// Interrupt bits of `mip` and `mie`, and their causes.
pub mod interrupt {
    /// Supervisor software interrupt.
    pub const SSI: u64 = 1 << 1;
    /// Machine software interrupt.
    pub const MSI: u64 = 1 << 3;
    /// Supervisor timer interrupt.
    pub const STI: u64 = 1 << 5;
    /// Machine timer interrupt.
    pub const MTI: u64 = 1 << 7;
    /// Supervisor external interrupt.
    pub const SEI: u64 = 1 << 9;
    /// Machine external interrupt.
    pub const MEI: u64 = 1 << 11;
    /// Those that can be delegated to S-mode.
    pub const SUPERVISOR: u64 = SSI | STI | SEI;
    /// All that exist.
    pub const ALL: u64 = SUPERVISOR | MSI | MTI | MEI;

    /// Highest priority first (privileged spec 3.1.9).
    pub(super) const PRIORITY: [u64; 6] = [MEI, MSI, MTI, SEI, SSI, STI];
    /// Set in `xcause` when the trap is an interrupt.
    pub(super) const CAUSE_FLAG: u64 = 1 << 63;
}

/// The interrupt that a hart must take now: its bit in `mip`, or `None`.
///
/// `pending` is `mip` as it stands, external wires and timers included.
pub fn next_interrupt(mode: Mode, csrs: &Csrs, pending: u64) -> Option<u64> {
    let ready = pending & csrs.mie;
    if ready == 0 {
        return None;
    }
    let machine = ready & !csrs.mideleg;
    let supervisor = ready & csrs.mideleg;
    let machine_enabled = mode < Mode::Machine || csrs.mstatus & status::MIE != 0;
    let supervisor_enabled =
        mode < Mode::Supervisor || (mode == Mode::Supervisor && csrs.mstatus & status::SIE != 0);
    let candidates = if machine != 0 && machine_enabled {
        machine
    } else if supervisor_enabled {
        supervisor
    } else {
        0
    };
    highest(candidates)
}

/// Of interrupts that would trap to the same mode, the one that is taken first.
pub(crate) fn highest(candidates: u64) -> Option<u64> {
    interrupt::PRIORITY
        .into_iter()
        .find(|bit| candidates & bit != 0)
}

/// Takes an exception at the current `pc`.
pub fn take_exception(hart: &mut Hart, trap: Trap) {
    let code = trap.cause as u64;
    let delegated = hart.mode <= Mode::Supervisor && hart.csrs.medeleg >> code & 1 != 0;
    enter(hart, code, trap.value, delegated);
}

/// Takes the interrupt whose bit in `mip` is `bit`, as [`next_interrupt`] chose it.
pub fn take_interrupt(hart: &mut Hart, bit: u64) {
    let delegated = hart.csrs.mideleg & bit != 0;
    let code = u64::from(bit.trailing_zeros()) | interrupt::CAUSE_FLAG;
    enter(hart, code, 0, delegated);
}

fn enter(hart: &mut Hart, cause: u64, value: u64, delegated: bool) {
    let csrs = &mut hart.csrs;
    let from = hart.mode;
    if delegated {
        csrs.scause = cause;
        csrs.sepc = hart.pc;
        csrs.stval = value;
        let enabled = csrs.mstatus & status::SIE != 0;
        csrs.mstatus &= !(status::SIE | status::SPIE | status::SPP);
        csrs.mstatus |= if enabled { status::SPIE } else { 0 };
        csrs.mstatus |= if from == Mode::Supervisor {
            status::SPP
        } else {
            0
        };
        hart.mode = Mode::Supervisor;
        hart.pc = vector(csrs.stvec, cause);
    } else {
        csrs.mcause = cause;
        csrs.mepc = hart.pc;
        csrs.mtval = value;
        let enabled = csrs.mstatus & status::MIE != 0;
        csrs.mstatus &= !(status::MIE | status::MPIE | status::MPP);
        csrs.mstatus |= if enabled { status::MPIE } else { 0 };
        csrs.mstatus |= (from as u64) << status::MPP_SHIFT;
        hart.mode = Mode::Machine;
        hart.pc = vector(csrs.mtvec, cause);
    }
}

/// The handler's address: vectored mode adds four bytes a cause for interrupts only.
fn vector(tvec: u64, cause: u64) -> u64 {
    let base = tvec & !3;
    if tvec & 1 != 0 && cause & interrupt::CAUSE_FLAG != 0 {
        base.wrapping_add(4 * (cause & !interrupt::CAUSE_FLAG))
    } else {
        base
    }
}

/// `mret`: back to the mode in `MPP`. The caller has checked the privilege.
pub fn machine_return(hart: &mut Hart) {
    let csrs = &mut hart.csrs;
    let to = Mode::from_bits(csrs.mstatus >> status::MPP_SHIFT & 3).unwrap_or(Mode::User);
    let enabled = csrs.mstatus & status::MPIE != 0;
    csrs.mstatus &= !(status::MIE | status::MPP);
    csrs.mstatus |= status::MPIE | if enabled { status::MIE } else { 0 };
    if to != Mode::Machine {
        csrs.mstatus &= !status::MPRV;
    }
    hart.mode = to;
    hart.pc = csrs.mepc;
}

/// `sret`: back to the mode in `SPP`. The caller has checked the privilege and `TSR`.
pub fn supervisor_return(hart: &mut Hart) {
    let csrs = &mut hart.csrs;
    let to = if csrs.mstatus & status::SPP != 0 {
        Mode::Supervisor
    } else {
        Mode::User
    };
    let enabled = csrs.mstatus & status::SPIE != 0;
    csrs.mstatus &= !(status::SIE | status::SPP | status::MPRV);
    csrs.mstatus |= status::SPIE | if enabled { status::SIE } else { 0 };
    hart.mode = to;
    hart.pc = csrs.sepc;
}
