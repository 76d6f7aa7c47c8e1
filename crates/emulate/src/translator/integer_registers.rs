//! Which host registers hold values of integer registers that are not pinned, within a block.
//!
//! What is written goes to the hart's state, too, so that a block may be left anywhere: a host
//! register only saves the way back from memory.

use super::assembler::{R13, R15, RDX, Reg};

const HOLDERS: [Reg; 3] = [RDX, R13, R15];

/// The guest register of each of [`HOLDERS`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held([Option<u8>; HOLDERS.len()]);

impl Held {
    pub(super) fn iter(&self) -> impl Iterator<Item = (Reg, u8)> {
        let held = HOLDERS.into_iter().zip(self.0);
        held.filter_map(|(reg, held)| held.map(|x| (reg, x)))
    }
}

/// What is known at a place in a block.
#[derive(Debug, Default)]
pub(super) struct IntegerRegisters {
    held: Held,
    /// Those that the current instruction uses.
    busy: [bool; HOLDERS.len()],
    /// The one to be given away next.
    next: usize,
}

impl IntegerRegisters {
    /// Nothing is in use any more.
    pub(super) fn begin_instruction(&mut self) {
        self.busy = [false; HOLDERS.len()];
    }

    pub(super) fn held(&self) -> Held {
        self.held
    }

    /// The host register with the value of `x`, if there is one.
    pub(super) fn find(&mut self, x: u8) -> Option<Reg> {
        let index = self.held.0.iter().position(|&held| held == Some(x))?;
        self.busy[index] = true;
        Some(HOLDERS[index])
    }

    /// A host register that the current instruction does not use, for a new value; none when it
    /// uses all.
    pub(super) fn allocate(&mut self) -> Option<Reg> {
        let free = (0..HOLDERS.len())
            .map(|ahead| (self.next + ahead) % HOLDERS.len())
            .find(|&index| !self.busy[index])?;
        self.next = (free + 1) % HOLDERS.len();
        self.busy[free] = true;
        self.held.0[free] = None;
        Some(HOLDERS[free])
    }

    /// `reg` has the value of `x` from now on, if it is one of those that may; no other has.
    pub(super) fn hold(&mut self, reg: Reg, x: u8) {
        for (holder, held) in HOLDERS.into_iter().zip(&mut self.held.0) {
            if holder == reg {
                *held = Some(x);
            } else if *held == Some(x) {
                *held = None;
            }
        }
    }

    /// `reg` is about to change.
    pub(super) fn clobber(&mut self, reg: Reg) {
        for (holder, held) in HOLDERS.into_iter().zip(&mut self.held.0) {
            if holder == reg {
                *held = None;
            }
        }
    }

    /// All host registers change.
    pub(super) fn forget_held(&mut self) {
        self.held = Held::default();
    }
}
