//! What the translator makes of guest code, to be looked at.

use std::fmt;

use clade_engine::PAGE_SIZE;

/// The host code of one unit: the blocks of a page that are reached from one instruction. There is
/// no form in between; each guest instruction becomes host instructions at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translation {
    /// Where the host code begins; the thunks are before it, and what is absolute in the code is
    /// relative to the same place.
    pub base: u64,
    /// The host code.
    pub code: Vec<u8>,
    /// What the code is of, by where it begins.
    pub parts: Vec<(u64, Part)>,
    /// What the code calls and jumps to outside itself.
    pub thunks: Vec<(u64, &'static str)>,
}

/// A part of a [`Translation`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// What is done once in the block that begins at this offset in the page.
    Block(u16),
    /// One guest instruction.
    Instruction {
        /// Its offset in the page.
        offset: u16,
        /// Its text, with addresses relative to the page.
        text: String,
    },
    /// What is rarely needed.
    Stubs,
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(offset) => write!(formatter, "{offset:03x}:"),
            Self::Instruction { offset, text } => write!(formatter, "{offset:03x}   {text}"),
            Self::Stubs => write!(formatter, "stubs:"),
        }
    }
}

impl Translation {
    /// Translates what is reached from offset `entry` of a page, as for the default
    /// [`Tuning`](crate::Tuning). `None` when the instruction there is not translated, and on
    /// hosts that have no translator.
    ///
    /// # Panics
    /// When `entry` is odd or not in the page.
    pub fn of(page: &[u8; PAGE_SIZE as usize], entry: u16) -> Option<Self> {
        assert!(entry.is_multiple_of(2) && u64::from(entry) < PAGE_SIZE);
        crate::translator::for_reading(page, entry)
    }
}
