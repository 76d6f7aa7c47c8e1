//! The interpreter: the reference for what every instruction does.
//!
//! [`run_block`] does a block at a time; [`Core::execute`] does one instruction. The common integer
//! instructions are in line here; each other class has its own file.

mod atomic;
mod float;
mod integer;
mod system;

use clade_engine::Exit;
use clade_riscv::isa::{self, Inst, Op};
use clade_riscv::trap::{Exception, Trap};

use crate::block::{Block, BlockCache, instruction_parcels};
use crate::core::Core;
use crate::memory::{HostAddress, Scalar};

pub use system::CACHE_BLOCK;

/// What follows an instruction that did not trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// The next instruction in memory.
    Next,
    /// The instruction at this address.
    Jump(u64),
    /// The next instruction in memory, once interrupts were looked at: an enable has changed.
    Recheck,
    /// The instruction at `hart.pc`, which was set: mode and enables have changed.
    Return,
    /// `run` returns; the instruction is complete.
    Exit(Exit),
}

/// What came of one instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The next one in memory follows, in the same mode.
    Next,
    /// `hart.pc` and `hart.mode` say what follows.
    Elsewhere,
    /// `run` returns.
    Exit(Exit),
}

/// Where the code at `hart.pc` is.
pub(crate) enum Fetched {
    /// Its page may be decoded from here on.
    Page(HostAddress),
    /// Only these two bytes are known to be executable.
    Parcel(HostAddress),
    /// Nowhere: the trap was taken.
    Trapped,
}

/// Finds the code at `hart.pc`.
#[inline(always)]
pub(crate) fn fetch(core: &mut Core) -> Fetched {
    let pc = core.hart.pc;
    if let Some(start) = core.tlb.execute(core.fetch_member, pc) {
        return Fetched::Page(start);
    }
    match core.locate_code(pc) {
        Ok((start, true)) => Fetched::Page(start),
        Ok((start, false)) => Fetched::Parcel(start),
        Err(trap) => {
            core.take_exception(trap);
            Fetched::Trapped
        }
    }
}

/// Executes one instruction or takes one trap, without any block. `Some` when the machine's owner
/// must be told of something.
pub(crate) fn run_one(core: &mut Core) -> Option<Exit> {
    match fetch(core) {
        Fetched::Page(start) | Fetched::Parcel(start) => step(core, start),
        Fetched::Trapped => None,
    }
}

/// Executes the instruction at `hart.pc`, decoded from `raw`.
pub(crate) fn execute_one(core: &mut Core, inst: &Inst, raw: u32) -> Step {
    let (pc, mode) = (core.hart.pc, core.hart.mode);
    match core.execute(inst, pc, core.hart.retired) {
        Ok(flow) => {
            core.hart.retired += 1;
            if let Some(exit) = finish(core, flow, pc, inst) {
                return Step::Exit(exit);
            }
            let next = pc.wrapping_add(u64::from(inst.len));
            if core.hart.pc == next && core.hart.mode == mode {
                Step::Next
            } else {
                Step::Elsewhere
            }
        }
        Err(trap) => {
            core.take_exception(with_instruction(trap, || raw));
            Step::Elsewhere
        }
    }
}

/// Executes the block at `hart.pc`, or one instruction where there can be no block.
#[inline(always)]
pub(crate) fn run_block(core: &mut Core, cache: &mut BlockCache) -> Option<Exit> {
    match fetch(core) {
        Fetched::Page(start) => run_block_at(core, cache, start),
        Fetched::Parcel(start) => step(core, start),
        Fetched::Trapped => None,
    }
}

/// As [`run_block`], for the code at `start`, which is that of `hart.pc`.
#[inline(always)]
pub(crate) fn run_block_at(
    core: &mut Core,
    cache: &mut BlockCache,
    start: HostAddress,
) -> Option<Exit> {
    match cache.fetch(start) {
        Some(block) if core.allows(block.instructions.len()) => execute_block(core, block),
        _ => step(core, start),
    }
}

#[inline(always)]
fn execute_block(core: &mut Core, block: &Block) -> Option<Exit> {
    let start = core.hart.pc;
    let mut pc = start;
    let retired = core.hart.retired;
    for (index, inst) in block.instructions.iter().enumerate() {
        let flow = core.execute(inst, pc, retired + index as u64);
        match flow {
            Ok(Flow::Next) => pc = pc.wrapping_add(u64::from(inst.len)),
            Ok(flow) => {
                core.hart.retired = retired + index as u64 + 1;
                return finish(core, flow, pc, inst);
            }
            Err(trap) => {
                core.hart.retired = retired + index as u64;
                core.hart.pc = pc;
                let raw = || block.raw_at(pc.wrapping_sub(start));
                core.take_exception(with_instruction(trap, raw));
                return None;
            }
        }
    }
    core.hart.pc = pc;
    core.hart.retired = retired + block.instructions.len() as u64;
    None
}

/// Carries out what follows the instruction at `pc`, which is retired.
#[inline(always)]
fn finish(core: &mut Core, flow: Flow, pc: u64, inst: &Inst) -> Option<Exit> {
    let next = pc.wrapping_add(u64::from(inst.len));
    match flow {
        Flow::Next => core.hart.pc = next,
        Flow::Jump(target) => core.hart.pc = target,
        Flow::Recheck => {
            core.hart.pc = next;
            core.recheck();
        }
        Flow::Return => core.recheck(),
        Flow::Exit(exit) => {
            core.hart.pc = next;
            return Some(exit);
        }
    }
    None
}

/// Executes the one instruction at `hart.pc`, whose first parcel is at `low`, without a block:
/// it is illegal, lies on two pages, or on one whose bytes are not all protected alike.
#[cold]
pub(crate) fn step(core: &mut Core, low: HostAddress) -> Option<Exit> {
    let pc = core.hart.pc;
    // SAFETY: `locate_code` found two bytes of RAM there, at an even address.
    let low = unsafe { u16::load(low) };
    let mut raw = u32::from(low);
    if instruction_parcels(low) == 2 {
        let second = pc.wrapping_add(2);
        let high = match core.tlb.execute(core.fetch_member, second) {
            Some(high) => Ok(high),
            None => core.locate_code(second).map(|(high, _)| high),
        };
        match high {
            // SAFETY: as above.
            Ok(high) => raw |= u32::from(unsafe { u16::load(high) }) << 16,
            Err(trap) => {
                core.take_exception(trap);
                return None;
            }
        }
    }
    let Some(inst) = isa::decode(raw) else {
        core.take_exception(Trap::illegal(raw));
        return None;
    };
    match core.execute(&inst, pc, core.hart.retired) {
        Ok(flow) => {
            core.hart.retired += 1;
            finish(core, flow, pc, &inst)
        }
        Err(trap) => {
            core.take_exception(with_instruction(trap, || raw));
            None
        }
    }
}

/// Puts the instruction's bits into an illegal-instruction trap: instructions do not know them.
fn with_instruction(trap: Trap, raw: impl FnOnce() -> u32) -> Trap {
    match trap.cause {
        Exception::IllegalInstruction => Trap::illegal(raw()),
        _ => trap,
    }
}

/// An illegal instruction whose bits the caller fills in.
pub(crate) const ILLEGAL: Trap = Trap::illegal(0);

impl Core {
    #[inline(always)]
    fn x(&self, register: u8) -> u64 {
        self.hart.x[usize::from(register & 31)]
    }

    /// Writes a register; `x0` stays 0 without a branch.
    #[inline(always)]
    fn set_x(&mut self, register: u8, value: u64) {
        self.hart.x[usize::from(register & 31)] = value;
        self.hart.x[0] = 0;
    }

    #[inline(always)]
    fn set_w(&mut self, register: u8, value: u32) {
        self.set_x(register, value as i32 as u64);
    }

    #[inline(always)]
    fn branch(&self, taken: bool, pc: u64, inst: &Inst) -> Flow {
        if taken {
            Flow::Jump(pc.wrapping_add(inst.imm as u64))
        } else {
            Flow::Next
        }
    }

    /// Executes one instruction at `pc`, when `retired` ones came before it. After an error
    /// nothing of it has happened.
    #[inline(always)]
    fn execute(&mut self, inst: &Inst, pc: u64, retired: u64) -> Result<Flow, Trap> {
        let Inst { rd, rs1, rs2, .. } = *inst;
        let imm = inst.imm as u64;
        let address = |core: &Self| core.x(rs1).wrapping_add(imm);
        match inst.op {
            Op::Addi => self.set_x(rd, self.x(rs1).wrapping_add(imm)),
            Op::Add => self.set_x(rd, self.x(rs1).wrapping_add(self.x(rs2))),
            Op::Sub => self.set_x(rd, self.x(rs1).wrapping_sub(self.x(rs2))),
            Op::And => self.set_x(rd, self.x(rs1) & self.x(rs2)),
            Op::Or => self.set_x(rd, self.x(rs1) | self.x(rs2)),
            Op::Xor => self.set_x(rd, self.x(rs1) ^ self.x(rs2)),
            Op::Andi => self.set_x(rd, self.x(rs1) & imm),
            Op::Ori => self.set_x(rd, self.x(rs1) | imm),
            Op::Xori => self.set_x(rd, self.x(rs1) ^ imm),
            Op::Lui => self.set_x(rd, imm),
            Op::Auipc => self.set_x(rd, pc.wrapping_add(imm)),
            Op::Slli => self.set_x(rd, self.x(rs1) << (imm & 63)),
            Op::Srli => self.set_x(rd, self.x(rs1) >> (imm & 63)),
            Op::Srai => self.set_x(rd, ((self.x(rs1) as i64) >> (imm & 63)) as u64),
            Op::Sll => self.set_x(rd, self.x(rs1) << (self.x(rs2) & 63)),
            Op::Srl => self.set_x(rd, self.x(rs1) >> (self.x(rs2) & 63)),
            Op::Sra => self.set_x(rd, ((self.x(rs1) as i64) >> (self.x(rs2) & 63)) as u64),
            Op::Slt => self.set_x(rd, u64::from((self.x(rs1) as i64) < self.x(rs2) as i64)),
            Op::Sltu => self.set_x(rd, u64::from(self.x(rs1) < self.x(rs2))),
            Op::Slti => self.set_x(rd, u64::from((self.x(rs1) as i64) < imm as i64)),
            Op::Sltiu => self.set_x(rd, u64::from(self.x(rs1) < imm)),
            Op::Addiw => self.set_w(rd, (self.x(rs1) as u32).wrapping_add(imm as u32)),
            Op::Addw => self.set_w(rd, (self.x(rs1) as u32).wrapping_add(self.x(rs2) as u32)),
            Op::Subw => self.set_w(rd, (self.x(rs1) as u32).wrapping_sub(self.x(rs2) as u32)),
            Op::Slliw => self.set_w(rd, (self.x(rs1) as u32) << (imm & 31)),
            Op::Srliw => self.set_w(rd, (self.x(rs1) as u32) >> (imm & 31)),
            Op::Sraiw => self.set_x(rd, ((self.x(rs1) as i32) >> (imm & 31)) as u64),
            Op::Mul => self.set_x(rd, self.x(rs1).wrapping_mul(self.x(rs2))),
            Op::Mulw => self.set_w(rd, (self.x(rs1) as u32).wrapping_mul(self.x(rs2) as u32)),

            Op::Beq => return Ok(self.branch(self.x(rs1) == self.x(rs2), pc, inst)),
            Op::Bne => return Ok(self.branch(self.x(rs1) != self.x(rs2), pc, inst)),
            Op::Blt => {
                let taken = (self.x(rs1) as i64) < self.x(rs2) as i64;
                return Ok(self.branch(taken, pc, inst));
            }
            Op::Bge => {
                let taken = self.x(rs1) as i64 >= self.x(rs2) as i64;
                return Ok(self.branch(taken, pc, inst));
            }
            Op::Bltu => return Ok(self.branch(self.x(rs1) < self.x(rs2), pc, inst)),
            Op::Bgeu => return Ok(self.branch(self.x(rs1) >= self.x(rs2), pc, inst)),
            Op::Jal => {
                self.set_x(rd, pc.wrapping_add(u64::from(inst.len)));
                return Ok(Flow::Jump(pc.wrapping_add(imm)));
            }
            Op::Jalr => {
                let target = address(self) & !1;
                self.set_x(rd, pc.wrapping_add(u64::from(inst.len)));
                return Ok(Flow::Jump(target));
            }

            Op::Ld => {
                let value = self.load::<u64>(address(self))?;
                self.set_x(rd, value);
            }
            Op::Lw => {
                let value = self.load::<u32>(address(self))?;
                self.set_w(rd, value);
            }
            Op::Lwu => {
                let value = self.load::<u32>(address(self))?;
                self.set_x(rd, u64::from(value));
            }
            Op::Lh => {
                let value = self.load::<u16>(address(self))?;
                self.set_x(rd, value as i16 as u64);
            }
            Op::Lhu => {
                let value = self.load::<u16>(address(self))?;
                self.set_x(rd, u64::from(value));
            }
            Op::Lb => {
                let value = self.load::<u8>(address(self))?;
                self.set_x(rd, value as i8 as u64);
            }
            Op::Lbu => {
                let value = self.load::<u8>(address(self))?;
                self.set_x(rd, u64::from(value));
            }
            Op::Sd => self.store(address(self), self.x(rs2))?,
            Op::Sw => self.store(address(self), self.x(rs2) as u32)?,
            Op::Sh => self.store(address(self), self.x(rs2) as u16)?,
            Op::Sb => self.store(address(self), self.x(rs2) as u8)?,

            _ => return self.execute_other(inst, pc, retired),
        }
        Ok(Flow::Next)
    }

    /// The instructions that are not in line, by class.
    #[inline(never)]
    fn execute_other(&mut self, inst: &Inst, pc: u64, retired: u64) -> Result<Flow, Trap> {
        use isa::Class;
        match inst.op.spec().class {
            Class::Alu | Class::MulDiv => self.execute_integer(inst),
            Class::Amo => self.execute_atomic(inst)?,
            Class::Float => self.execute_float(inst)?,
            Class::Load | Class::Store => self.execute_float_memory(inst)?,
            Class::Hint => self.execute_hint(inst),
            _ => {
                self.hart.retired = retired;
                return self.execute_system(inst, pc);
            }
        }
        Ok(Flow::Next)
    }
}
