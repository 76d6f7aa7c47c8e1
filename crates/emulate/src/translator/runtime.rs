//! What generated code calls, and what calls it.

use std::arch::asm;

use clade_riscv::csr::status;
use clade_riscv::isa::{self, Class};

use super::Translator;
use super::assembler::CodeOffset;
use super::layout::{MXCSR_ROUNDING, Place};
use super::thunks::Reason;
use super::unit::must_interpret;
use crate::core::Core;
use crate::interpreter::{self, Step};
use crate::memory::{HostAddress, Scalar};

/// Bits 0 to 5 of MXCSR are the accrued exceptions; this gives them as `fflags` has them. The
/// host's denormal-operand exception (bit 1) has no counterpart.
const FFLAGS_OF_MXCSR: [u8; 64] = {
    const MAP: [(u32, u8); 5] = [(0, 16), (2, 8), (3, 4), (4, 2), (5, 1)];
    let mut table = [0; 64];
    let mut bits = 0;
    while bits < 64 {
        let mut pair = 0;
        while pair < MAP.len() {
            if bits >> MAP[pair].0 & 1 != 0 {
                table[bits] |= MAP[pair].1;
            }
            pair += 1;
        }
        bits += 1;
    }
    table
};

/// The inverse, by the five bits of `fflags`.
const MXCSR_OF_FFLAGS: [u8; 32] = {
    let mut table = [0; 32];
    let mut bits = 0;
    while bits < 64 {
        if bits & 2 == 0 {
            table[FFLAGS_OF_MXCSR[bits] as usize] = bits as u8;
        }
        bits += 1;
    }
    table
};

/// All exceptions masked, no flags, round to nearest, denormals as they are.
const MXCSR_DEFAULT: u32 = 0x1f80;
/// MXCSR's rounding control by `frm`: nearest, to zero, down, up.
const ROUNDING: [u32; 4] = [0, 3 << 13, 1 << 13, 2 << 13];

impl Core {
    /// Prepares what generated code has of the floating-point state.
    fn export_float(&mut self) {
        let csrs = &self.hart.csrs;
        let rounding = ROUNDING.get(usize::from(csrs.frm));
        let dirty = csrs.mstatus & status::FS == status::FS;
        self.jit.float_ready = u8::from(dirty && rounding.is_some());
        self.jit.guest_mxcsr = MXCSR_DEFAULT
            | rounding.copied().unwrap_or(0)
            | u32::from(MXCSR_OF_FFLAGS[usize::from(csrs.fflags & 31)]);
    }

    /// Takes over what generated code did to it.
    fn import_float(&mut self) {
        self.hart.csrs.fflags = FFLAGS_OF_MXCSR[self.jit.guest_mxcsr as usize & 63];
    }
}

/// Runs generated code at `code`, which was translated from `hart.pc`.
pub(super) fn enter(translator: &Translator, core: &mut Core, code: CodeOffset) -> Reason {
    core.jit.limit = core.horizon();
    core.jit.budget = core.jit.limit.wrapping_sub(core.hart.retired) as i64;
    core.jit.pc_page = core.hart.pc & !0xfff;
    core.export_float();
    let enter = translator.address(translator.thunks.enter);
    // SAFETY: the thunk of this signature, in executable memory that `translator` keeps alive.
    let enter: extern "sysv64" fn(*mut Core, usize) -> u32 = unsafe { std::mem::transmute(enter) };
    let reason = Reason::from_bits(enter(core, translator.address(code)));
    core.import_float();
    core.hart.retired = core.jit.limit.wrapping_sub(core.jit.budget as u64);
    reason
}

/// What generated code calls to have an instruction executed.
pub(super) type Assist = extern "sysv64" fn(core: *mut Core, raw: u32, place: Place) -> u32;

/// As [`interpret`], for an instruction whose first half is `low` and whose second half begins the
/// next page: whatever that is now.
pub(super) extern "sysv64" fn straddle(core: *mut Core, low: u32, place: Place) -> u32 {
    let second = {
        // SAFETY: as in `interpret`, which is not called yet.
        let core = unsafe { &mut *core };
        let address = core.jit.pc_page.wrapping_add(place.offset() + 2);
        core.tlb
            .execute(core.fetch_member, address)
            // SAFETY: the TLB holds live RAM, and instructions are at even addresses.
            .map(|at| unsafe { u16::load(at) })
    };
    let raw = second.map(|high| low | u32::from(high) << 16);
    match raw.filter(|&raw| isa::decode(raw).is_some_and(|inst| !must_interpret(inst.op))) {
        Some(raw) => interpret(core, raw, place),
        // SAFETY: as above.
        None => leave_before(unsafe { &mut *core }, place, Reason::Interpret),
    }
}

/// Returns to [`enter`] before the instruction at `place`.
fn leave_before(core: &mut Core, place: Place, reason: Reason) -> u32 {
    core.hart.pc = core.jit.pc_page.wrapping_add(place.offset());
    core.jit.budget = core.jit.budget.wrapping_add(place.unretired() as i64);
    reason as u32
}

/// Executes the instruction `raw` at `place`. 0 when generated code may go on behind it, else the
/// [`Reason`] to return.
pub(super) extern "sysv64" fn interpret(core: *mut Core, raw: u32, place: Place) -> u32 {
    // SAFETY: `enter` was given a `&mut Core` and does not use it before generated code returns.
    let core = unsafe { &mut *core };
    core.import_float();
    // Rust's own floating point, of which there is little, rounds to nearest.
    if core.jit.guest_mxcsr & MXCSR_ROUNDING as u32 != 0 {
        write_mxcsr(core.jit.host_mxcsr);
    }
    let data_tlb = core.jit.data_tlb;
    core.jit.stats.assisted += 1;
    let before = core.jit.limit.wrapping_sub(core.jit.budget as u64);
    core.hart.retired = before.wrapping_sub(place.unretired());
    core.hart.pc = core.jit.pc_page.wrapping_add(place.offset());
    let Some(inst) = isa::decode(raw) else {
        // It was decoded when it was translated.
        return leave_before(core, place, Reason::Interpret);
    };
    // What other harts sent shows in CSRs.
    if inst.op.spec().class == Class::Csr && core.port.attention() {
        return leave_before(core, place, Reason::Continue);
    }
    let changes = core.tlb.changes();
    let step = interpreter::execute_one(core, &inst, raw);
    core.export_float();
    // A horizon that has moved needs another budget, attention wants to be looked at now, and the
    // page that is executed may not be mapped any more.
    let undisturbed =
        core.horizon() == core.jit.limit && !core.port.attention() && core.tlb.changes() == changes;
    if step == Step::Next && undisturbed {
        // The instruction, or a device, may have raised exceptions or changed the rounding.
        if read_mxcsr() != core.jit.guest_mxcsr {
            write_mxcsr(core.jit.guest_mxcsr);
        }
        if core.jit.data_tlb != data_tlb {
            write_gs_base(core.jit.data_tlb);
        }
        return 0;
    }
    if let Step::Exit(exit) = step {
        core.jit.exit = Some(exit);
    }
    core.jit.budget = core.jit.limit.wrapping_sub(core.hart.retired) as i64;
    Reason::Continue as u32
}

/// The address of the code for virtual address `pc`, now that no cache knew it; 0 to leave with
/// `hart.pc` there.
pub(super) extern "sysv64" fn dispatch(core: *mut Core, pc: u64) -> usize {
    // SAFETY: as in `interpret`.
    let core = unsafe { &mut *core };
    let pc = pc & !1;
    core.hart.pc = pc;
    core.jit.stats.jump_misses += 1;
    let Some(at) = core.tlb.execute(core.fetch_member, pc) else {
        return 0;
    };
    let Some(address) = core.jit.found.get(at).or_else(|| look_up(core, at)) else {
        return 0;
    };
    core.tlb.insert_jump(core.fetch_context, pc, address);
    core.jit.pc_page = pc & !0xfff;
    address
}

#[cold]
fn look_up(core: &mut Core, at: HostAddress) -> Option<usize> {
    let translator = core.shared.translator.as_ref()?;
    let address = translator.address(translator.lookup(core, at)?);
    core.jit.found.insert(at, address);
    Some(address)
}

fn read_mxcsr() -> u32 {
    let mut mxcsr = 0u32;
    // SAFETY: stores four bytes to `mxcsr`.
    unsafe { asm!("stmxcsr [{}]", in(reg) &mut mxcsr, options(nostack, preserves_flags)) };
    mxcsr
}

/// Loads an MXCSR that masks all exceptions.
fn write_mxcsr(mxcsr: u32) {
    // SAFETY: no exception is unmasked. Whoever loads the guest's returns to generated code.
    unsafe { asm!("ldmxcsr [{}]", in(reg) &mxcsr, options(nostack, preserves_flags, readonly)) };
}

fn write_gs_base(base: usize) {
    // SAFETY: nothing but generated code uses `gs` in a 64-bit Linux process, and the translator is
    // not made where this instruction is not allowed.
    unsafe { asm!("wrgsbase {}", in(reg) base, options(nostack, preserves_flags, nomem)) };
}
