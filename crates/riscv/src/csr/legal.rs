//! Whether stored CSRs hold values that writing them could have left there.

use super::aia::SELECTABLE;
use super::{Csrs, envcfg, satp, stateen, status};
use crate::hart::Mode;
use crate::trap::{DELEGABLE_EXCEPTIONS, interrupt};

impl Csrs {
    /// Checks registers that come from outside, such as a saved state.
    ///
    /// # Errors
    /// The name of a register that holds a value which no hart can have.
    pub fn check(&self) -> Result<(), &'static str> {
        let within = |value: u64, mask: u64| value & !mask == 0;
        let enable = |value: u64, mask| within(value, mask) && value & envcfg::CBIE != 2 << 4;
        let stateen = |index: usize| match index {
            0 => self.stateen_writable(),
            _ => stateen::SE0,
        };
        let software = interrupt::SSI | interrupt::SEI | interrupt::STI;
        let satp_mode = self.satp >> satp::MODE_SHIFT;
        let modes = [satp::BARE, satp::SV39, satp::SV48, satp::SV57];
        let mpp = self.mstatus >> status::MPP_SHIFT & 3;
        let counters = u64::from(u32::MAX);
        let rules = [
            (
                self.mstatus & !status::MACHINE_WRITABLE == status::XLEN_64
                    && Mode::from_bits(mpp).is_some(),
                "mstatus",
            ),
            (within(self.medeleg, DELEGABLE_EXCEPTIONS), "medeleg"),
            (within(self.mideleg, interrupt::SUPERVISOR), "mideleg"),
            (within(self.mie, interrupt::ALL), "mie"),
            (within(self.mip, software), "mip"),
            (self.mtvec & 2 == 0, "mtvec"),
            (self.mepc & 1 == 0, "mepc"),
            (within(self.mcounteren, counters), "mcounteren"),
            (within(self.mcountinhibit, 0b101), "mcountinhibit"),
            (enable(self.menvcfg, envcfg::MACHINE_WRITABLE), "menvcfg"),
            (
                (0..4).all(|i| within(self.mstateen[i], stateen(i))),
                "mstateen0 to 3",
            ),
            (self.pmp.is_legal(), "PMP entries"),
            (self.stvec & 2 == 0, "stvec"),
            (self.sepc & 1 == 0, "sepc"),
            (within(self.scounteren, counters), "scounteren"),
            (enable(self.senvcfg, envcfg::SUPERVISOR_WRITABLE), "senvcfg"),
            (modes.contains(&satp_mode), "satp"),
            (self.fflags < 1 << 5, "fflags"),
            (self.frm < 1 << 3, "frm"),
            (
                self.aia
                    .as_ref()
                    .is_none_or(|aia| aia.miselect.max(aia.siselect) <= SELECTABLE),
                "miselect or siselect",
            ),
        ];
        match rules.into_iter().find(|(legal, _)| !legal) {
            Some((_, name)) => Err(name),
            None => Ok(()),
        }
    }
}
