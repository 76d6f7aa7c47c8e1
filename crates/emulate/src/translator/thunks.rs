//! The code at the beginning of the code memory: the ways into and out of translations.

use super::assembler::{Alu, Operand};
use super::assembler::{
    Assembler, CodeOffset, Cond, Mem, R12, R13, R14, R15, RAX, RBP, RBX, RCX, RDI, RDX, RSI, RSP,
    Reg, Shift, Width,
};
use super::layout::*;
use super::runtime;

/// Why generated code returned to [`runtime::enter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Reason {
    /// `hart.pc` is where to go on.
    Continue = 1,
    /// The next block is longer than the budget.
    Budget = 2,
    /// The interpreter must execute the instruction at `hart.pc`.
    Interpret = 3,
    /// `hart.pc` is not translated, or `jit.link_site` not linked to it yet.
    Unlinked = 4,
}

impl Reason {
    pub(super) fn from_bits(bits: u32) -> Self {
        [Self::Budget, Self::Interpret, Self::Unlinked]
            .into_iter()
            .find(|&reason| reason as u32 == bits)
            .unwrap_or(Self::Continue)
    }
}

/// Where the thunks are.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Thunks {
    /// `extern "sysv64" fn(*mut Core, code address) -> u32`, a [`Reason`].
    pub(super) enter: CodeOffset,
    /// Called with an instruction's bits in `eax` and its [`Place`] in `ecx`: executes it.
    pub(super) interpret: CodeOffset,
    /// As `interpret`, with the first half of an instruction that two pages share in `eax`.
    pub(super) straddle: CodeOffset,
    /// Jumped to with a virtual address in `rax`: goes there, or leaves.
    pub(super) dispatch: CodeOffset,
    /// Jumped to with a [`Place`] in `ecx`: leaves, to come back with a new budget.
    pub(super) out_of_budget: CodeOffset,
    /// Jumped to with a [`Place`] in `ecx`: leaves, for the instruction to be interpreted.
    pub(super) leave: CodeOffset,
    /// Called with a [`Place`] in `ecx`, and the link's site and page behind the call: leaves.
    pub(super) unlinked: CodeOffset,
}

const SAVED_BY_CALLEE: [Reg; 6] = [RBP, RBX, R12, R13, R14, R15];

/// Assembles the thunks at the beginning of the code memory.
pub(super) fn assemble() -> (Thunks, Vec<u8>) {
    let mut a = Assembler::new(0);
    let mut thunks = Thunks {
        enter: enter(&mut a),
        ..Thunks::default()
    };
    // Everything from here on: the state is saved, `eax` is the reason.
    let leave_saved = a.here();
    a.load_mxcsr(HOST_MXCSR);
    a.alu_imm(Width::B64, Alu::Add, RSP, 8);
    for reg in SAVED_BY_CALLEE.into_iter().rev() {
        a.pop(reg);
    }
    a.ret();
    thunks.interpret = assist(&mut a, runtime::interpret, leave_saved);
    thunks.straddle = assist(&mut a, runtime::straddle, leave_saved);
    thunks.dispatch = dispatch(&mut a, leave_saved);
    thunks.out_of_budget = leave_at(&mut a, Reason::Budget, leave_saved);
    thunks.leave = leave_at(&mut a, Reason::Interpret, leave_saved);
    thunks.unlinked = a.here();
    a.pop(RDX);
    a.mov32(RAX, Mem::at(RDX, 0));
    a.store(Width::B32, LINK_SITE, RAX);
    a.mov32(RAX, Mem::at(RDX, 4));
    a.store(Width::B32, LINK_PAGE, RAX);
    leave_at(&mut a, Reason::Unlinked, leave_saved);
    (thunks, a.finish())
}

fn enter(a: &mut Assembler) -> CodeOffset {
    let here = a.here();
    for reg in SAVED_BY_CALLEE {
        a.push(reg);
    }
    // Six registers and the return address are on the stack: this aligns it to 16.
    a.alu_imm(Width::B64, Alu::Sub, RSP, 8);
    a.lea(STATE, Mem::at(RDI, BIAS));
    a.mov(RAX, RSI);
    a.store_mxcsr(HOST_MXCSR);
    a.load_mxcsr(GUEST_MXCSR);
    a.mov(RCX, DATA_TLB);
    a.write_gs_base(RCX);
    load_state(a);
    a.jmp_indirect(RAX);
    here
}

fn assist(a: &mut Assembler, by: runtime::Assist, leave_saved: CodeOffset) -> CodeOffset {
    let here = a.here();
    save_state(a);
    a.alu_imm(Width::B64, Alu::Sub, RSP, 8);
    a.lea(RDI, Mem::at(STATE, -BIAS));
    a.mov32(RSI, RAX);
    a.mov32(RDX, RCX);
    a.mov_imm(RAX, by as *const () as i64);
    a.call_indirect(RAX);
    a.alu_imm(Width::B64, Alu::Add, RSP, 8);
    a.test32(RAX, RAX);
    let leave = a.jcc_short(Cond::NotEqual);
    load_state(a);
    a.ret();
    a.bind_short(leave);
    // The return address.
    a.pop(RCX);
    a.jmp_to(leave_saved);
    here
}

fn dispatch(a: &mut Assembler, leave_saved: CodeOffset) -> CodeOffset {
    let here = a.here();
    save_state(a);
    a.lea(RDI, Mem::at(STATE, -BIAS));
    a.mov(RSI, RAX);
    a.mov_imm(RAX, runtime::dispatch as *const () as i64);
    a.call_indirect(RAX);
    a.test(RAX, RAX);
    let leave = a.jcc_short(Cond::Equal);
    load_state(a);
    a.jmp_indirect(RAX);
    a.bind_short(leave);
    a.mov_imm(RAX, Reason::Continue as i64);
    a.jmp_to(leave_saved);
    here
}

fn leave_at(a: &mut Assembler, reason: Reason, leave_saved: CodeOffset) -> CodeOffset {
    let here = a.here();
    a.movzx(RAX, Width::B16, RCX);
    a.shift_imm(Width::B32, Shift::Shr, RCX, 16);
    a.alu(Alu::Add, BUDGET, RCX);
    a.alu(Alu::Add, RAX, PC_PAGE);
    a.store(Width::B64, PC, RAX);
    save_state(a);
    a.mov_imm(RAX, reason as i64);
    a.jmp_to(leave_saved);
    here
}

/// Puts what lives in host registers where Rust finds it. Changes no register. The guest's MXCSR
/// and `gs` stay: what Rust does before it returns to generated code needs neither, or sees to it.
fn save_state(a: &mut Assembler) {
    for (x, reg) in PINNED {
        a.store(Width::B64, x_slot(x), reg);
    }
    a.store(Width::B64, SAVED_BUDGET, BUDGET);
    a.store_mxcsr(GUEST_MXCSR);
}

/// The inverse of [`save_state`], but for MXCSR.
fn load_state(a: &mut Assembler) {
    for (x, reg) in PINNED {
        a.mov(reg, Operand::Mem(x_slot(x)));
    }
    a.mov(BUDGET, SAVED_BUDGET);
}
