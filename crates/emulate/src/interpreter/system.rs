//! CSRs, traps and returns, waits, fences, cache blocks.

use std::sync::atomic::{Ordering, fence};

use clade_riscv::csr::{self, Csrs, Effect, envcfg, status};
use clade_riscv::hart::Mode;
use clade_riscv::imsic::Change;
use clade_riscv::isa::{Class, Inst, Op};
use clade_riscv::mmu::Access;
use clade_riscv::trap::{self, Exception, Trap};

use super::{Flow, ILLEGAL};
use crate::core::{Core, Environment};
use crate::sbi;

/// Size in bytes of the blocks that `cbo.*` work on, as the device tree says.
pub const CACHE_BLOCK: u64 = 64;

impl Core {
    /// A hint changes nothing; `pause` lets another hart's thread run.
    pub(super) fn execute_hint(&mut self, inst: &Inst) {
        if inst.op == Op::Pause {
            std::thread::yield_now();
        }
    }

    /// Executes an instruction that is none of the other classes. `hart.retired` is current.
    #[inline(never)]
    pub(super) fn execute_system(&mut self, inst: &Inst, pc: u64) -> Result<Flow, Trap> {
        match inst.op.spec().class {
            Class::Csr => return self.execute_csr(inst),
            Class::Cache => return self.execute_cache_block(inst),
            _ => {}
        }
        let mode = self.hart.mode;
        let mstatus = self.hart.csrs.mstatus;
        match inst.op {
            Op::Fence => fence(Ordering::SeqCst),
            Op::FenceI => self.instructions_stale = true,
            Op::Ecall => return self.environment_call(),
            Op::Ebreak => return Err(Trap::new(Exception::Breakpoint, pc)),
            Op::Mret => {
                require(mode == Mode::Machine)?;
                trap::machine_return(&mut self.hart);
                self.update_contexts();
                return Ok(Flow::Return);
            }
            Op::Sret => {
                let trapped = mode == Mode::Supervisor && mstatus & status::TSR != 0;
                require(mode >= Mode::Supervisor && !trapped)?;
                trap::supervisor_return(&mut self.hart);
                self.update_contexts();
                return Ok(Flow::Return);
            }
            Op::Wfi => {
                let trapped = mode == Mode::Supervisor && mstatus & status::TW != 0;
                require(mode >= Mode::Supervisor && !trapped)?;
                return Ok(self.wait_for_interrupt().map_or(Flow::Recheck, Flow::Exit));
            }
            // Both may end the wait at any time (Zawrs): let another hart's thread run once.
            Op::WrsNto | Op::WrsSto => std::thread::yield_now(),
            Op::SfenceVma | Op::SinvalVma => {
                let trapped = mode == Mode::Supervisor && mstatus & status::TVM != 0;
                require(mode >= Mode::Supervisor && !trapped)?;
                self.fence_translations(inst);
            }
            // Invalidations are complete at once, so there is nothing left to order (Svinval).
            Op::SfenceWInval | Op::SfenceInvalIr => require(mode >= Mode::Supervisor)?,
            other => unreachable!("{other:?} is not a system instruction"),
        }
        Ok(Flow::Next)
    }

    fn execute_csr(&mut self, inst: &Inst) -> Result<Flow, Trap> {
        let number = inst.imm as u16;
        let operand = match inst.op {
            Op::Csrrw | Op::Csrrs | Op::Csrrc => self.x(inst.rs1),
            _ => u64::from(inst.rs1),
        };
        let mut environment = Environment {
            shared: &self.shared,
            port: &self.port,
        };
        let old = csr::read(&self.hart, number, &mut environment).ok_or(ILLEGAL)?;
        let base = csr::modifiable(&self.hart.csrs, number, old);
        let new = match inst.op {
            Op::Csrrw | Op::Csrrwi => Some(operand),
            _ if inst.rs1 == 0 => None,
            Op::Csrrs | Op::Csrrsi => Some(base | operand),
            _ => Some(base & !operand),
        };
        let Some(new) = new else {
            self.set_x(inst.rd, old);
            return Ok(Flow::Next);
        };
        let mut old = old;
        match csr::write(&mut self.hart, number, new).ok_or(ILLEGAL)? {
            // `update_contexts` goes over to the address space.
            Effect::None | Effect::AddressSpace => {}
            Effect::FlushTlb => self.tlb.flush(),
            Effect::Timer => self.read_clock(),
            Effect::Environment => {
                self.tlb.flush();
                self.read_clock();
            }
            Effect::InterruptFile { level, selected } => {
                let change = change(inst.op, operand);
                if let Some(files) = self.port.imsic() {
                    old = files.at(level).change(selected, change);
                }
            }
            Effect::Claim(level) => {
                if let Some(files) = self.port.imsic() {
                    files.at(level).claim((old >> 16) as u32);
                }
            }
        }
        self.set_x(inst.rd, old);
        self.update_contexts();
        Ok(Flow::Recheck)
    }

    fn environment_call(&mut self) -> Result<Flow, Trap> {
        let cause = match self.hart.mode {
            Mode::User => Exception::EcallFromU,
            Mode::Supervisor if self.shared.sbi.is_some() => return Ok(sbi::call(self)),
            Mode::Supervisor => Exception::EcallFromS,
            Mode::Machine => Exception::EcallFromM,
        };
        Err(Trap::new(cause, 0))
    }

    /// `sfence.vma` and `sinval.vma`: forgets what the operands name, or more.
    fn fence_translations(&mut self, inst: &Inst) {
        const ASID: u64 = 0xffff;
        let asid = (inst.rs2 != 0).then(|| self.x(inst.rs2) & ASID);
        match (inst.rs1, asid) {
            (0, None) => self.tlb.flush(),
            (0, Some(asid)) => self.tlb.flush_asid(asid),
            (address, asid) => self.tlb.flush_page(self.x(address), asid),
        }
    }

    /// Zicbom and Zicboz. There is no cache, so cleaning and flushing do nothing but are checked.
    fn execute_cache_block(&mut self, inst: &Inst) -> Result<Flow, Trap> {
        let enable = match inst.op {
            Op::CboInval => envcfg::CBIE,
            Op::CboZero => envcfg::CBZE,
            _ => envcfg::CBCFE,
        };
        require(self.allows_cache_blocks(enable))?;

        // A trap reports the operand itself, not the block's address (CMO extensions, "Traps").
        let operand = self.x(inst.rs1);
        self.access_cache_block(inst.op, operand & !(CACHE_BLOCK - 1))
            .map_err(|trap| Trap::new(trap.cause, operand))?;
        Ok(Flow::Next)
    }

    /// Whether the current mode may use cache-block instructions that these bits of `menvcfg` and
    /// `senvcfg` are about.
    pub(crate) fn allows_cache_blocks(&self, enable: u64) -> bool {
        let Csrs {
            menvcfg, senvcfg, ..
        } = self.hart.csrs;
        (self.hart.mode == Mode::Machine || menvcfg & enable != 0)
            && (self.hart.mode != Mode::User || senvcfg & enable != 0)
    }

    fn access_cache_block(&mut self, op: Op, address: u64) -> Result<(), Trap> {
        if op == Op::CboZero {
            self.zero_block(address, CACHE_BLOCK)
        } else {
            // Permission to load or to store will do, and none is without that to load. Faults are
            // those of a store. There must be memory.
            let physical = self
                .translate_block(address, CACHE_BLOCK, Access::Read)
                .map_err(|trap| match trap.cause {
                    Exception::LoadPageFault => Access::Write.page_fault(address),
                    _ => Access::Write.access_fault(address),
                })?;
            self.shared
                .memory
                .host(physical, CACHE_BLOCK)
                .map(drop)
                .ok_or_else(|| Access::Write.access_fault(address))
        }
    }
}

/// What a CSR instruction does to the bits of a register that others write to as well.
fn change(op: Op, operand: u64) -> Change {
    let (clear, set) = match op {
        Op::Csrrw | Op::Csrrwi => (!0, operand),
        Op::Csrrs | Op::Csrrsi => (0, operand),
        _ => (operand, 0),
    };
    Change { clear, set }
}

fn require(condition: bool) -> Result<(), Trap> {
    condition.then_some(()).ok_or(ILLEGAL)
}
