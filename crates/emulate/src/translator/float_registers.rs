//! What is known of floating point within a block, above all which host registers hold values of
//! `f` registers.
//!
//! What is written goes to the hart's state, too, so that a block may be left anywhere: a host
//! register only saves the way back from memory.

use super::assembler::{Simd, Width, Xmm};

/// Scratch registers, which hold nothing from one instruction to the next.
pub(super) const XMM0: Xmm = Xmm(0);
pub(super) const XMM1: Xmm = Xmm(1);

const HOLDERS: usize = 8;
/// The first of the host registers that hold values.
const FIRST: usize = 4;

/// How the bits of an `f` register are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Single,
    Double,
}

impl Format {
    /// The prefix of the host's scalar instructions.
    pub(super) fn scalar(self) -> Simd {
        match self {
            Self::Single => Simd::PF3,
            Self::Double => Simd::PF2,
        }
    }

    /// The prefix of those that are encoded as if they were for vectors.
    pub(super) fn packed(self) -> Simd {
        match self {
            Self::Single => Simd::None,
            Self::Double => Simd::P66,
        }
    }

    pub(super) fn width(self) -> Width {
        match self {
            Self::Single => Width::B32,
            Self::Double => Width::B64,
        }
    }

    /// The position of the sign.
    pub(super) fn sign_bit(self) -> u8 {
        match self {
            Self::Single => 31,
            Self::Double => 63,
        }
    }

    /// Bits of the fraction.
    pub(super) fn fraction_bits(self) -> u8 {
        match self {
            Self::Single => 23,
            Self::Double => 52,
        }
    }

    /// What the exponent of 1 is stored as.
    pub(super) fn bias(self) -> i32 {
        match self {
            Self::Single => 127,
            Self::Double => 1023,
        }
    }
}

/// The `f` register and format of what each host register holds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held([Option<(u8, Format)>; HOLDERS]);

impl Held {
    pub(super) fn iter(&self) -> impl Iterator<Item = (Xmm, u8, Format)> {
        let held = self.0.into_iter().enumerate();
        held.filter_map(|(index, held)| held.map(|(f, format)| (holder(index), f, format)))
    }
}

fn holder(index: usize) -> Xmm {
    Xmm((FIRST + index) as u8)
}

/// What is known at a place in a block.
#[derive(Debug, Default)]
pub(super) struct FloatRegisters {
    /// Whether floating-point instructions are known to run as they are.
    pub(super) ready: bool,
    /// Whether the guest is known to round to nearest.
    pub(super) nearest: bool,
    held: Held,
    /// Host registers that the current instruction uses, as a set.
    busy: u32,
    /// The one to be given away next.
    next: usize,
    /// `f` registers that contain NaN-boxed singles, as a set.
    boxed: u32,
}

impl FloatRegisters {
    /// Nothing is in use any more.
    pub(super) fn begin_instruction(&mut self) {
        self.busy = 0;
    }

    /// The guest may have changed how it computes.
    pub(super) fn forget_modes(&mut self) {
        self.ready = false;
        self.nearest = false;
    }

    pub(super) fn held(&self) -> Held {
        self.held
    }

    /// The host register with the value of `f`, if there is one.
    pub(super) fn find(&mut self, f: u8, format: Format) -> Option<Xmm> {
        let index = self
            .held
            .0
            .iter()
            .position(|&held| held == Some((f, format)))?;
        self.busy |= 1 << index;
        Some(holder(index))
    }

    /// A host register that the current instruction does not use, for a new value.
    pub(super) fn allocate(&mut self) -> Xmm {
        while self.busy >> self.next & 1 != 0 {
            self.next = (self.next + 1) % HOLDERS;
        }
        let index = self.next;
        self.next = (index + 1) % HOLDERS;
        self.busy |= 1 << index;
        self.held.0[index] = None;
        holder(index)
    }

    /// `xmm`, from [`FloatRegisters::allocate`], has the value of `f` now.
    pub(super) fn hold(&mut self, xmm: Xmm, f: u8, format: Format) {
        self.held.0[usize::from(xmm.0) - FIRST] = Some((f, format));
    }

    /// `f` changes.
    pub(super) fn forget(&mut self, f: u8) {
        for held in &mut self.held.0 {
            if held.is_some_and(|(other, _)| other == f) {
                *held = None;
            }
        }
    }

    /// All host registers change.
    pub(super) fn forget_held(&mut self) {
        self.held = Held::default();
    }

    pub(super) fn is_boxed(&self, f: u8) -> bool {
        self.boxed >> f & 1 != 0
    }

    /// `f` contains a boxed single from now on, or anything.
    pub(super) fn set_boxed(&mut self, f: u8, boxed: bool) {
        self.boxed = self.boxed & !(1 << f) | u32::from(boxed) << f;
    }
}
