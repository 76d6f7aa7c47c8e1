//! The state of one hart, as a plain value.

use serde::{Deserialize, Serialize};

use crate::csr::Csrs;

/// A privilege mode, ordered by privilege (privileged spec 1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Mode {
    /// U-mode: applications.
    User = 0,
    /// S-mode: the operating system.
    Supervisor = 1,
    /// M-mode: firmware.
    Machine = 3,
}

impl Mode {
    /// The mode with this encoding, or `None` for the reserved one.
    pub const fn from_bits(bits: u64) -> Option<Self> {
        match bits {
            0 => Some(Self::User),
            1 => Some(Self::Supervisor),
            3 => Some(Self::Machine),
            _ => None,
        }
    }
}

/// Everything that a guest can observe of one hart, except memory, time and interrupt wires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hart {
    /// Integer registers; `x[0]` is always 0.
    pub x: [u64; 32],
    /// Floating-point registers, narrower values NaN-boxed.
    pub f: [u64; 32],
    /// The address of the next instruction.
    pub pc: u64,
    /// The current privilege mode.
    pub mode: Mode,
    /// Instructions retired since reset.
    pub retired: u64,
    /// Control and status registers.
    pub csrs: Csrs,
}

impl Hart {
    /// A hart fresh from reset, in M-mode at `pc`, whose bit 0 does not count (privileged spec
    /// 3.4).
    pub fn new(id: u64, pc: u64) -> Self {
        Self {
            x: [0; 32],
            f: [0; 32],
            pc: pc & !1,
            mode: Mode::Machine,
            retired: 0,
            csrs: Csrs::new(id),
        }
    }

    /// Checks registers that come from outside, such as a saved state.
    ///
    /// # Errors
    /// The name of a register that holds a value which no hart can have.
    pub fn check(&self) -> Result<(), &'static str> {
        // A count that no hart lives to reach, and that would overflow.
        const NEVER_RETIRED: u64 = 1 << 63;
        if self.x[0] != 0 {
            return Err("x0");
        }
        if self.pc & 1 != 0 {
            return Err("pc");
        }
        if self.retired >= NEVER_RETIRED {
            return Err("count of retired instructions");
        }
        self.csrs.check()
    }

    /// The mode whose rules loads and stores follow: `MPP` while M-mode has set `MPRV`
    /// (privileged spec 3.1.6.3).
    pub fn data_mode(&self) -> Mode {
        use crate::csr::status;
        let mstatus = self.csrs.mstatus;
        if self.mode == Mode::Machine && mstatus & status::MPRV != 0 {
            Mode::from_bits(mstatus >> status::MPP_SHIFT & 3).unwrap_or(Mode::User)
        } else {
            self.mode
        }
    }
}
