//! Translations that are made to be read, and never run.

use clade_engine::PAGE_SIZE;
use clade_riscv::isa::disassemble;

use super::emit::{self, Emitted, Options};
use super::{thunks, unit};
use crate::translation::{Part, Translation};
use crate::tuning::Tuning;

const PAGE: usize = PAGE_SIZE as usize;

/// Translates what is reached from offset `entry` of a page.
pub(crate) fn for_reading(page: &[u8; PAGE], entry: u16) -> Option<Translation> {
    let parcels =
        std::array::from_fn(|index| u16::from_le_bytes([page[2 * index], page[2 * index + 1]]));
    let blocks = unit::discover(&parcels, entry, &|_| false);
    if blocks.is_empty() {
        return None;
    }
    let (thunks, _) = thunks::assemble();
    let emitted = emit::emit(
        &blocks,
        (PAGE as u32, 0),
        thunks,
        Options::of(&Tuning::default()),
        &|_| None,
    );
    Some(Translation {
        base: PAGE_SIZE,
        parts: parts(&emitted),
        code: emitted.code,
        thunks: [
            (thunks.interpret, "interpret"),
            (thunks.dispatch, "dispatch"),
            (thunks.out_of_budget, "out of budget"),
            (thunks.leave, "leave"),
            (thunks.unlinked, "unlinked"),
        ]
        .map(|(at, name)| (u64::from(at), name))
        .into(),
    })
}

/// What the code is of, in its order; where nothing is between two parts, as a block and its first
/// instruction, the outer one comes first.
fn parts(emitted: &Emitted) -> Vec<(u64, Part)> {
    let blocks = emitted.blocks.iter();
    let blocks = blocks.map(|&(offset, at)| (u64::from(at), Part::Block(offset)));
    let instructions = emitted.instructions.iter().map(|(placed, at)| {
        let part = Part::Instruction {
            offset: placed.offset,
            text: disassemble(placed.raw, u64::from(placed.offset)),
        };
        (u64::from(*at), part)
    });
    let stubs = (u64::from(emitted.stubs), Part::Stubs);
    let mut parts: Vec<_> = blocks.chain(instructions).chain([stubs]).collect();
    parts.sort_by_key(|&(at, _)| at);
    parts
}
