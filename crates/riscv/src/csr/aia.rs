//! The CSRs of the Advanced Interrupt Architecture (Smaia, Ssaia).
//!
//! Section numbers are those of *The RISC-V Advanced Interrupt Architecture*, version 1.0.

use serde::{Deserialize, Serialize};

use super::address::*;
use super::{Csrs, Effect, Environment, stateen};
use crate::hart::{Hart, Mode};
use crate::imsic::InterruptFile;
use crate::trap::{self, interrupt};

/// What a hart with these extensions holds besides; its interrupt files are its IMSIC's.
///
/// Priorities of major interrupts cannot be configured: the arrays `iprio` are zero (sections
/// 5.2.1 and 5.4.1). Neither are there virtual interrupts for S-mode: `mvien` is zero (section 5.3).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aia {
    /// `miselect`, nine bits.
    pub miselect: u16,
    /// `siselect`, nine bits.
    pub siselect: u16,
}

/// What can be selected: all values that have been assigned, and those of a VS-mode besides
/// (section 2.2).
pub(super) const SELECTABLE: u16 = 0x1ff;

/// The priorities of major interrupts. With 64 bits, only every other register exists.
const PRIORITIES: std::ops::Range<u16> = 0x30..0x40;

/// Reads CSR `number`, or `None` when it is none of these or not for the current mode.
pub(super) fn read(hart: &Hart, number: u16, environment: &mut impl Environment) -> Option<u64> {
    let csrs = &hart.csrs;
    let aia = csrs.aia.as_ref()?;
    require_enabled(hart, aia, number)?;
    let mut top = |delegated: u64| top(csrs, environment.pending(csrs), delegated);
    Some(match number {
        MVIEN => 0,
        MVIP => csrs.mip & software(csrs),
        MISELECT => aia.miselect.into(),
        SISELECT => aia.siselect.into(),
        MIREG => read_selected(aia.miselect, environment.interrupt_file(Mode::Machine)?)?,
        SIREG => read_selected(aia.siselect, environment.interrupt_file(Mode::Supervisor)?)?,
        MTOPEI => top_external(environment.interrupt_file(Mode::Machine)?),
        STOPEI => top_external(environment.interrupt_file(Mode::Supervisor)?),
        MTOPI => top(!csrs.mideleg),
        STOPI => top(csrs.mideleg),
        _ => return None,
    })
}

/// Writes CSR `number`; `None` when it is none of these or not for the current mode.
pub(super) fn write(hart: &mut Hart, number: u16, value: u64) -> Option<Effect> {
    require_enabled(hart, hart.csrs.aia.as_ref()?, number)?;
    let software = software(&hart.csrs);
    let aia = hart.csrs.aia.as_mut()?;
    match number {
        MVIEN => {}
        // Its bits are those of `mip` that software sets (section 5.3).
        MVIP => hart.csrs.mip = hart.csrs.mip & !software | value & software,
        MISELECT => aia.miselect = value as u16 & SELECTABLE,
        SISELECT => aia.siselect = value as u16 & SELECTABLE,
        MIREG => return write_selected(Mode::Machine, aia.miselect),
        SIREG => return write_selected(Mode::Supervisor, aia.siselect),
        MTOPEI => return Some(Effect::Claim(Mode::Machine)),
        STOPEI => return Some(Effect::Claim(Mode::Supervisor)),
        _ => return None,
    }
    Some(Effect::None)
}

/// What `mstateen0` keeps from less privileged modes (section 2.5).
fn require_enabled(hart: &Hart, aia: &Aia, number: u16) -> Option<()> {
    let needed = match number {
        SISELECT => stateen::INDIRECT,
        SIREG if PRIORITIES.contains(&aia.siselect) => stateen::INDIRECT | stateen::AIA,
        SIREG => stateen::INDIRECT | stateen::IMSIC,
        STOPEI => stateen::IMSIC,
        STOPI => stateen::AIA,
        _ => 0,
    };
    let enabled = hart.mode == Mode::Machine || needed & !hart.csrs.mstateen[0] == 0;
    enabled.then_some(())
}

fn read_selected(selected: u16, file: &InterruptFile) -> Option<u64> {
    if PRIORITIES.contains(&selected) && selected.is_multiple_of(2) {
        return Some(0);
    }
    InterruptFile::has(selected).then(|| file.read(selected))
}

fn write_selected(level: Mode, selected: u16) -> Option<Effect> {
    if PRIORITIES.contains(&selected) && selected.is_multiple_of(2) {
        return Some(Effect::None);
    }
    InterruptFile::has(selected).then_some(Effect::InterruptFile { level, selected })
}

/// The identity is also the priority (section 3.10).
fn top_external(file: &InterruptFile) -> u64 {
    let identity = u64::from(file.top());
    identity << 16 | identity
}

/// `mtopi` and `stopi`: as no priority can be configured, that is always 1 (sections 5.2.2, 5.4.2).
fn top(csrs: &Csrs, pending: u64, level: u64) -> u64 {
    let ready = (csrs.mip | pending) & csrs.mie & level;
    trap::highest(ready).map_or(0, |bit| u64::from(bit.trailing_zeros()) << 16 | 1)
}

/// The bits of `mvip`, which are those of `mip` that software writes.
fn software(csrs: &Csrs) -> u64 {
    if csrs.sstc_enabled() {
        interrupt::SSI | interrupt::SEI
    } else {
        interrupt::SSI | interrupt::SEI | interrupt::STI
    }
}
