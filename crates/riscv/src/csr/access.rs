//! Reading and writing CSRs by number, with the checks that the instructions make.

use super::address::*;
use super::{Csrs, aia, envcfg, satp, stateen, status};
use crate::hart::{Hart, Mode};
use crate::imsic::InterruptFile;
use crate::trap::{DELEGABLE_EXCEPTIONS, interrupt};

/// What CSRs show that the hart itself does not hold.
pub trait Environment {
    /// The real-time counter, in ticks of the timebase.
    fn time(&mut self) -> u64;

    /// The bits of `mip` that wires and timers drive at this moment, software's own bits left out.
    fn pending(&mut self, csrs: &Csrs) -> u64;

    /// The interrupt file of M-mode or S-mode, where the hart has an IMSIC.
    fn interrupt_file(&self, level: Mode) -> Option<&InterruptFile>;
}

/// What else must happen after a CSR was written.
///
/// After any write the caller re-reads the translation context and the interrupt enables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    None,
    /// Cached translations are stale.
    FlushTlb,
    /// Another address space is the current one; what was cached of others is not stale.
    AddressSpace,
    /// A timer's comparison has changed.
    Timer,
    /// Both, as `menvcfg` enables features of translation and of timers.
    Environment,
    /// What was written goes to the selected register of the interrupt file of `level`.
    InterruptFile {
        /// M-mode or S-mode.
        level: Mode,
        /// Which register, as in `siselect`.
        selected: u16,
    },
    /// The interrupt that was just read is claimed at the interrupt file of this level.
    Claim(Mode),
}

/// `misa`: RV64 with A, B, C, D, F, I, M, S and U. Read-only.
const MISA_VALUE: u64 = 2 << 62
    | extension(b'A')
    | extension(b'B')
    | extension(b'C')
    | extension(b'D')
    | extension(b'F')
    | extension(b'I')
    | extension(b'M')
    | extension(b'S')
    | extension(b'U');

const fn extension(letter: u8) -> u64 {
    1 << (letter - b'A')
}

/// Reads CSR `number`, or `None` when that is an illegal instruction here.
pub fn read(hart: &Hart, number: u16, environment: &mut impl Environment) -> Option<u64> {
    check_privilege(hart, number)?;
    let csrs = &hart.csrs;
    Some(match number {
        FFLAGS => u64::from(csrs.fflags),
        FRM => u64::from(csrs.frm),
        FCSR => u64::from(csrs.frm) << 5 | u64::from(csrs.fflags),
        CYCLE | MCYCLE => csrs.mcycle.read(hart.retired),
        TIME => environment.time(),
        INSTRET | MINSTRET => csrs.minstret.read(hart.retired),
        HPMCOUNTER3..=HPMCOUNTER31 | MHPMCOUNTER3..=MHPMCOUNTER31 => 0,
        MHPMEVENT3..=MHPMEVENT31 => 0,

        SSTATUS => {
            let visible = status::SUPERVISOR_WRITABLE | status::UXL_64;
            with_dirty_summary(csrs.mstatus) & (visible | status::SD)
        }
        SIE => csrs.mie & csrs.mideleg,
        SIP => (csrs.mip | environment.pending(csrs)) & csrs.mideleg,
        STVEC => csrs.stvec,
        SCOUNTEREN => csrs.scounteren,
        SENVCFG => csrs.senvcfg,
        SSTATEEN0..=SSTATEEN3 => 0,
        SSCRATCH => csrs.sscratch,
        SEPC => csrs.sepc,
        SCAUSE => csrs.scause,
        STVAL => csrs.stval,
        STIMECMP => csrs.stimecmp,
        SATP => csrs.satp,

        MVENDORID | MARCHID | MIMPID | MCONFIGPTR => 0,
        MHARTID => csrs.mhartid,
        MSTATUS => with_dirty_summary(csrs.mstatus),
        MISA => MISA_VALUE,
        MEDELEG => csrs.medeleg,
        MIDELEG => csrs.mideleg,
        MIE => csrs.mie,
        MIP => csrs.mip | environment.pending(csrs),
        MTVEC => csrs.mtvec,
        MCOUNTEREN => csrs.mcounteren,
        MENVCFG => csrs.menvcfg,
        MSTATEEN0..=MSTATEEN3 => csrs.mstateen[usize::from(number - MSTATEEN0)],
        MCOUNTINHIBIT => csrs.mcountinhibit,
        MSCRATCH => csrs.mscratch,
        MEPC => csrs.mepc,
        MCAUSE => csrs.mcause,
        MTVAL => csrs.mtval,
        PMPCFG0..=PMPCFG15 => csrs.pmp.read_config(usize::from(number - PMPCFG0))?,
        PMPADDR0..=PMPADDR63 => csrs.pmp.read_address(usize::from(number - PMPADDR0)),
        _ => return aia::read(hart, number, environment),
    })
}

/// The value that `csrrs` and `csrrc` modify: as [`read`] gives it, but without the wires in
/// `mip.SEIP`, which would otherwise turn into software's own bit (privileged spec 3.1.9).
pub fn modifiable(csrs: &Csrs, number: u16, value: u64) -> u64 {
    match number {
        MIP => value & !interrupt::SEI | csrs.mip & interrupt::SEI,
        _ => value,
    }
}

/// Writes CSR `number`, keeping to legal values; `None` when that is an illegal instruction here.
pub fn write(hart: &mut Hart, number: u16, value: u64) -> Option<Effect> {
    const READ_ONLY: u16 = 3;
    check_privilege(hart, number)?;
    if number >> 10 == READ_ONLY {
        return None;
    }
    let retired = hart.retired;
    let csrs = &mut hart.csrs;
    match number {
        FFLAGS => {
            csrs.fflags = value as u8 & 0x1f;
            csrs.set_fp_dirty();
        }
        FRM => {
            csrs.frm = value as u8 & 7;
            csrs.set_fp_dirty();
        }
        FCSR => {
            csrs.fflags = value as u8 & 0x1f;
            csrs.frm = (value >> 5) as u8 & 7;
            csrs.set_fp_dirty();
        }

        SSTATUS => return Some(write_status(csrs, value, status::SUPERVISOR_WRITABLE)),
        SIE => csrs.mie = merge(csrs.mie, value, csrs.mideleg),
        SIP => csrs.mip = merge(csrs.mip, value, csrs.mideleg & interrupt::SSI),
        STVEC => csrs.stvec = legal_tvec(csrs.stvec, value),
        SCOUNTEREN => csrs.scounteren = value & 0xffff_ffff,
        SENVCFG => {
            csrs.senvcfg = legal_envcfg(csrs.senvcfg, value, envcfg::SUPERVISOR_WRITABLE);
        }
        SSTATEEN0..=SSTATEEN3 => {}
        SSCRATCH => csrs.sscratch = value,
        SEPC => csrs.sepc = value & !1,
        SCAUSE => csrs.scause = value,
        STVAL => csrs.stval = value,
        STIMECMP => {
            csrs.stimecmp = value;
            return Some(Effect::Timer);
        }
        SATP => return Some(write_satp(csrs, value)),

        MSTATUS => return Some(write_status(csrs, value, status::MACHINE_WRITABLE)),
        MEDELEG => csrs.medeleg = value & DELEGABLE_EXCEPTIONS,
        MIDELEG => csrs.mideleg = value & interrupt::SUPERVISOR,
        MIE => csrs.mie = value & interrupt::ALL,
        MIP => {
            let timer = if csrs.sstc_enabled() {
                0
            } else {
                interrupt::STI
            };
            csrs.mip = merge(csrs.mip, value, interrupt::SSI | interrupt::SEI | timer);
        }
        MTVEC => csrs.mtvec = legal_tvec(csrs.mtvec, value),
        MCOUNTEREN => csrs.mcounteren = value & 0xffff_ffff,
        MENVCFG => return Some(write_menvcfg(csrs, value)),
        MSTATEEN0..=MSTATEEN3 => {
            let index = usize::from(number - MSTATEEN0);
            let writable = if index == 0 {
                csrs.stateen_writable()
            } else {
                stateen::SE0
            };
            csrs.mstateen[index] = value & writable;
        }
        MCOUNTINHIBIT => {
            csrs.mcountinhibit = value & 0b101;
            csrs.mcycle.set_inhibited(value & 1 != 0, retired);
            csrs.minstret.set_inhibited(value & 4 != 0, retired);
        }
        MSCRATCH => csrs.mscratch = value,
        MEPC => csrs.mepc = value & !1,
        MCAUSE => csrs.mcause = value,
        MTVAL => csrs.mtval = value,
        MCYCLE => csrs.mcycle.write(value, retired),
        MINSTRET => csrs.minstret.write(value, retired),
        PMPCFG0..=PMPCFG15 => {
            csrs.pmp
                .write_config(usize::from(number - PMPCFG0), value)?;
            return Some(Effect::FlushTlb);
        }
        PMPADDR0..=PMPADDR63 => {
            csrs.pmp
                .write_address(usize::from(number - PMPADDR0), value);
            return Some(Effect::FlushTlb);
        }
        // Read-only by value: a write is legal and changes nothing.
        MISA | MHPMCOUNTER3..=MHPMCOUNTER31 | MHPMEVENT3..=MHPMEVENT31 => {}
        _ => return aia::write(hart, number, value),
    }
    Some(Effect::None)
}

/// Whether the current mode may reach this CSR at all (privileged spec 2.1 and the gates of
/// `mcounteren`, `scounteren`, `menvcfg`, `mstateen0`, `mstatus.TVM` and `mstatus.FS`).
fn check_privilege(hart: &Hart, number: u16) -> Option<()> {
    let csrs = &hart.csrs;
    let mode = hart.mode;
    if (mode as u16) < number >> 8 & 3 {
        return None;
    }
    let machine = mode == Mode::Machine;
    let allowed = match number {
        FFLAGS | FRM | FCSR => csrs.fp_enabled(),
        CYCLE..=HPMCOUNTER31 => {
            let bit = 1 << (number - CYCLE);
            (machine || csrs.mcounteren & bit != 0)
                && (mode != Mode::User || csrs.scounteren & bit != 0)
        }
        STIMECMP => {
            const TM: u64 = 1 << 1;
            machine || csrs.sstc_enabled() && csrs.mcounteren & TM != 0
        }
        SENVCFG => machine || csrs.mstateen[0] & stateen::ENVCFG != 0,
        SSTATEEN0..=SSTATEEN3 => {
            machine || csrs.mstateen[usize::from(number - SSTATEEN0)] & stateen::SE0 != 0
        }
        SATP => machine || csrs.mstatus & status::TVM == 0,
        _ => true,
    };
    allowed.then_some(())
}

fn merge(old: u64, new: u64, mask: u64) -> u64 {
    old & !mask | new & mask
}

fn with_dirty_summary(mstatus: u64) -> u64 {
    if mstatus & status::FS == status::FS {
        mstatus | status::SD
    } else {
        mstatus
    }
}

fn write_status(csrs: &mut Csrs, value: u64, writable: u64) -> Effect {
    let old = csrs.mstatus;
    let mut new = merge(old, value, writable);
    if Mode::from_bits(new >> status::MPP_SHIFT & 3).is_none() {
        new = merge(new, old, status::MPP);
    }
    csrs.mstatus = new;
    if (old ^ new) & status::MXR != 0 {
        Effect::FlushTlb
    } else {
        Effect::None
    }
}

fn write_satp(csrs: &mut Csrs, value: u64) -> Effect {
    match value >> satp::MODE_SHIFT {
        satp::BARE | satp::SV39 | satp::SV48 | satp::SV57 => {
            let changed = csrs.satp != value;
            csrs.satp = value;
            if changed {
                Effect::AddressSpace
            } else {
                Effect::None
            }
        }
        // A write with an unsupported mode has no effect at all (12.1.11).
        _ => Effect::None,
    }
}

fn write_menvcfg(csrs: &mut Csrs, value: u64) -> Effect {
    let old = csrs.menvcfg;
    csrs.menvcfg = legal_envcfg(old, value, envcfg::MACHINE_WRITABLE);
    let changed = old ^ csrs.menvcfg;
    if changed & envcfg::STCE != 0 {
        // STIP stops being software's, or becomes it again with an undefined value.
        csrs.mip &= !interrupt::STI;
    }
    if changed & (envcfg::PBMTE | envcfg::ADUE | envcfg::STCE) != 0 {
        Effect::Environment
    } else {
        Effect::None
    }
}

fn legal_envcfg(old: u64, value: u64, writable: u64) -> u64 {
    const RESERVED_CBIE: u64 = 2 << 4;
    let new = merge(old, value, writable);
    if new & envcfg::CBIE == RESERVED_CBIE {
        merge(new, old, envcfg::CBIE)
    } else {
        new
    }
}

/// Modes 0 (direct) and 1 (vectored) exist; a reserved one keeps the old mode.
fn legal_tvec(old: u64, value: u64) -> u64 {
    if value & 2 != 0 {
        value & !3 | old & 3
    } else {
        value
    }
}
