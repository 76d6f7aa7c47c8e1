//! Control and status registers: what they hold, who may reach them, which values are legal.

mod access;
pub mod address;
mod aia;
mod counter;
mod fields;
mod legal;

use serde::{Deserialize, Serialize};

pub use access::{Effect, Environment, modifiable, read, write};
pub use aia::Aia;
pub use counter::Counter;
pub use fields::{envcfg, satp, stateen, status};

use crate::pmp::Pmp;

/// The CSRs of one hart, as stored: composed registers (`sstatus`, `sip`, `fcsr`) are views.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // The names are the specification's own.
pub struct Csrs {
    pub mhartid: u64,
    pub mstatus: u64,
    pub medeleg: u64,
    pub mideleg: u64,
    pub mie: u64,
    /// The bits of `mip` that software sets and clears: SSIP, SEIP, and STIP without Sstc.
    pub mip: u64,
    pub mtvec: u64,
    pub mscratch: u64,
    pub mepc: u64,
    pub mcause: u64,
    pub mtval: u64,
    pub mcounteren: u64,
    pub mcountinhibit: u64,
    pub menvcfg: u64,
    pub mstateen: [u64; 4],
    pub mcycle: Counter,
    pub minstret: Counter,
    pub pmp: Pmp,
    pub stvec: u64,
    pub sscratch: u64,
    pub sepc: u64,
    pub scause: u64,
    pub stval: u64,
    pub scounteren: u64,
    pub senvcfg: u64,
    pub satp: u64,
    pub stimecmp: u64,
    /// Accrued floating-point exceptions, five bits.
    pub fflags: u8,
    /// The dynamic rounding mode, three bits; 5 to 7 are invalid but can be held.
    pub frm: u8,
    /// Only of a hart with an IMSIC.
    pub aia: Option<Aia>,
}

impl Csrs {
    /// The CSRs after reset.
    ///
    /// `menvcfg.ADUE` starts set: the device tree names Svadu and not Svade, which means that the
    /// hardware updates A and D bits from the start (RVA23 profile, Svadu).
    pub fn new(id: u64) -> Self {
        Self {
            mhartid: id,
            mstatus: status::XLEN_64,
            medeleg: 0,
            mideleg: 0,
            mie: 0,
            mip: 0,
            mtvec: 0,
            mscratch: 0,
            mepc: 0,
            mcause: 0,
            mtval: 0,
            mcounteren: 0,
            mcountinhibit: 0,
            menvcfg: envcfg::ADUE,
            mstateen: [0; 4],
            mcycle: Counter::default(),
            minstret: Counter::default(),
            pmp: Pmp::default(),
            stvec: 0,
            sscratch: 0,
            sepc: 0,
            scause: 0,
            stval: 0,
            scounteren: 0,
            senvcfg: 0,
            satp: 0,
            stimecmp: u64::MAX,
            fflags: 0,
            frm: 0,
            aia: None,
        }
    }

    /// Whether floating-point instructions are allowed (`mstatus.FS` is not off).
    #[inline]
    pub fn fp_enabled(&self) -> bool {
        self.mstatus & status::FS != 0
    }

    /// Notes that floating-point state has changed.
    #[inline]
    pub fn set_fp_dirty(&mut self) {
        self.mstatus |= status::FS;
    }

    /// The bits of `mstateen0` that exist.
    pub(crate) fn stateen_writable(&self) -> u64 {
        let aia = stateen::IMSIC | stateen::AIA | stateen::INDIRECT;
        let aia = if self.aia.is_some() { aia } else { 0 };
        stateen::SE0 | stateen::ENVCFG | aia
    }

    /// Whether `stimecmp` drives `mip.STIP` (Sstc, section 2).
    #[inline]
    pub fn sstc_enabled(&self) -> bool {
        self.menvcfg & envcfg::STCE != 0
    }
}
