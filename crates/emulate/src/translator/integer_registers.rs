//! What the host registers that are not pinned hold, within a block: values of other integer
//! registers, and where pages are that the TLB was asked for.
//!
//! What is written goes to the hart's state, too, so that a block may be left anywhere: a host
//! register only saves the way back from memory. Only a value that is written again before anything
//! can leave the block stays out of memory: it is *unsaved*.

use super::assembler::{R13, R15, RDX, Reg};

/// The last two keep what they hold when the interpreter assists.
const HOLDERS: [Reg; 3] = [RDX, R13, R15];
const KEPT: [usize; 2] = [1, 2];

/// The bytes from `x + low` to `x + high`, within one page, that may be read, or written as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) x: u8,
    pub(super) low: i32,
    pub(super) high: i32,
    pub(super) write: bool,
}

impl Range {
    fn contains(&self, other: &Self) -> bool {
        self.x == other.x
            && self.low <= other.low
            && self.high >= other.high
            && (self.write || !other.write)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// The value of a guest register.
    Value(u8),
    /// What to add to addresses in the range.
    Addend(Range),
}

/// What each of [`HOLDERS`] holds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held([Option<Content>; HOLDERS.len()]);

impl Held {
    /// The values of guest registers.
    pub(super) fn values(&self) -> impl Iterator<Item = (Reg, u8)> {
        let held = HOLDERS.into_iter().zip(self.0);
        held.filter_map(|(reg, held)| match held {
            Some(Content::Value(x)) => Some((reg, x)),
            _ => None,
        })
    }
}

/// What is known at a place in a block.
#[derive(Debug, Default)]
pub(super) struct IntegerRegisters {
    held: Held,
    /// Those that the current instruction uses.
    busy: [bool; HOLDERS.len()],
    /// Those whose value memory does not have. They are not given away.
    unsaved: [bool; HOLDERS.len()],
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

    fn find_content(&mut self, is: impl Fn(&Content) -> bool) -> Option<Reg> {
        let index = self
            .held
            .0
            .iter()
            .position(|held| held.as_ref().is_some_and(&is))?;
        self.busy[index] = true;
        Some(HOLDERS[index])
    }

    /// The host register with the value of `x`, if there is one.
    pub(super) fn find(&mut self, x: u8) -> Option<Reg> {
        self.find_content(|&held| held == Content::Value(x))
    }

    /// The host register with what to add to addresses in `range`, if there is one.
    pub(super) fn find_addend(&mut self, range: Range) -> Option<Reg> {
        self.find_content(|held| matches!(held, Content::Addend(known) if known.contains(&range)))
    }

    /// A host register that the current instruction does not use, for a new value; rather one
    /// that holds nothing `wanted`. None when it uses all.
    pub(super) fn allocate(&mut self, wanted: impl Fn(u8) -> bool) -> Option<Reg> {
        self.allocate_among(&[0, 1, 2], wanted)
    }

    /// As [`IntegerRegisters::allocate`], one that keeps what it holds when the interpreter
    /// assists.
    pub(super) fn allocate_kept(&mut self, wanted: impl Fn(u8) -> bool) -> Option<Reg> {
        self.allocate_among(&KEPT, wanted)
    }

    fn allocate_among(&mut self, indices: &[usize], wanted: impl Fn(u8) -> bool) -> Option<Reg> {
        let start = self.next;
        let in_turn = || {
            let turned = (0..HOLDERS.len()).map(|ahead| (start + ahead) % HOLDERS.len());
            turned.filter(|index| {
                indices.contains(index) && !self.busy[*index] && !self.unsaved[*index]
            })
        };
        let useless = |&index: &usize| match self.held.0[index] {
            None => true,
            Some(Content::Value(x)) => !wanted(x),
            Some(Content::Addend(_)) => false,
        };
        let chosen = in_turn().find(useless).or_else(|| in_turn().next())?;
        self.next = (chosen + 1) % HOLDERS.len();
        self.busy[chosen] = true;
        self.held.0[chosen] = None;
        Some(HOLDERS[chosen])
    }

    /// `reg` has the value of `x` from now on, as memory has, if it is one of those that may; no
    /// other has.
    pub(super) fn hold(&mut self, reg: Reg, x: u8) {
        for (index, holder) in HOLDERS.into_iter().enumerate() {
            if holder == reg {
                self.held.0[index] = Some(Content::Value(x));
                self.unsaved[index] = false;
            } else if self.held.0[index] == Some(Content::Value(x)) {
                self.held.0[index] = None;
                self.unsaved[index] = false;
            }
        }
    }

    /// As [`IntegerRegisters::hold`], but memory has not. False when `reg` cannot hold anything.
    pub(super) fn hold_unsaved(&mut self, reg: Reg, x: u8) -> bool {
        let Some(index) = HOLDERS.iter().position(|&holder| holder == reg) else {
            return false;
        };
        self.hold(reg, x);
        self.unsaved[index] = true;
        true
    }

    /// The host register with the value of `x`, if memory does not have it.
    pub(super) fn unsaved(&self, x: u8) -> Option<Reg> {
        let value = Some(Content::Value(x));
        let index =
            (0..HOLDERS.len()).find(|&index| self.unsaved[index] && self.held.0[index] == value)?;
        Some(HOLDERS[index])
    }

    /// `reg`, from [`IntegerRegisters::allocate_kept`], has what to add to addresses in `range`.
    pub(super) fn hold_addend(&mut self, reg: Reg, range: Range) {
        for (holder, held) in HOLDERS.into_iter().zip(&mut self.held.0) {
            if holder == reg {
                *held = Some(Content::Addend(range));
            }
        }
    }

    /// `x` changes: addresses that are relative to it are others.
    pub(super) fn forget_addends(&mut self, x: u8) {
        for held in &mut self.held.0 {
            if matches!(held, Some(Content::Addend(range)) if range.x == x) {
                *held = None;
            }
        }
    }

    /// `reg` is about to change.
    pub(super) fn clobber(&mut self, reg: Reg) {
        for (index, holder) in HOLDERS.into_iter().enumerate() {
            if holder == reg {
                debug_assert!(!self.unsaved[index]);
                self.held.0[index] = None;
            }
        }
    }

    /// All host registers change, or what they stand for.
    pub(super) fn forget_held(&mut self) {
        debug_assert_eq!(self.unsaved, [false; HOLDERS.len()]);
        self.held = Held::default();
    }
}
