//! The shape of translations, seen with a disassembler that is not ours: nothing but instructions,
//! and no jump but to one of them.

use std::collections::BTreeSet;

use clade_emulate::{Part, Translation, translator_support};
use clade_riscv::isa::{Class, Op, decode};
use iced_x86::{Code, Decoder, DecoderOptions};

const PAGE: usize = 4096;
/// What stands behind a call of the thunk `unlinked`, in bytes: the link's site and page.
const LINK: u64 = 8;

/// The whole host code by addresses where instructions begin, and where its jumps lead.
struct Host {
    starts: BTreeSet<u64>,
    targets: BTreeSet<u64>,
}

impl Host {
    fn of(translation: &Translation) -> Self {
        let mut host = Self {
            starts: BTreeSet::new(),
            targets: BTreeSet::new(),
        };
        let thunk = |name| translation.thunks.iter().find(|thunk| thunk.1 == name);
        let unlinked = thunk("unlinked").expect("a thunk of that name").0;
        let code = &translation.code;
        let mut decoder = Decoder::with_ip(64, code, translation.base, DecoderOptions::NONE);
        while decoder.can_decode() {
            let instruction = decoder.decode();
            assert_ne!(instruction.code(), Code::INVALID, "{translation:#x?}");
            host.starts.insert(instruction.ip());
            let target = instruction.near_branch_target();
            if target != 0 {
                host.targets.insert(target);
            }
            if target == unlinked {
                let behind = instruction.next_ip() + LINK;
                decoder.set_ip(behind);
                let position = (behind - translation.base) as usize;
                decoder.set_position(position).expect("the link");
            }
        }
        host
    }
}

/// Sees that a translation is well-formed; returns the guest's instructions in it.
fn check(translation: &Translation) -> usize {
    let host = Host::of(translation);
    let thunks: BTreeSet<u64> = translation.thunks.iter().map(|thunk| thunk.0).collect();
    let end = translation.base + translation.code.len() as u64;
    for target in &host.targets {
        assert!(
            host.starts.contains(target) || thunks.contains(target),
            "a jump to {target:#x} in {translation:#x?}"
        );
    }
    for (at, part) in &translation.parts {
        assert!(
            host.starts.contains(at) || *at == end,
            "{part:?} at {at:#x}"
        );
    }
    let parts = translation.parts.iter();
    parts
        .filter(|(_, part)| matches!(part, Part::Instruction { .. }))
        .count()
}

/// Xorshift (Marsaglia 2003): the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as u32
    }

    /// An instruction of the operation with operands by chance.
    fn instruction(&mut self, op: Op) -> u32 {
        let spec = op.spec();
        loop {
            let word = spec.value | self.next() & !spec.mask;
            if decode(word).is_some_and(|inst| inst.op == op) {
                return word;
            }
        }
    }
}

fn page(words: impl IntoIterator<Item = u32>) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    for (word, place) in words.into_iter().zip(page.chunks_exact_mut(4)) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    page
}

#[test]
fn every_operation_becomes_well_formed_code() {
    if let Err(lacks) = translator_support() {
        return eprintln!("SKIPPED: this host lacks {}", lacks.join(", "));
    }
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let mut untranslated = Vec::new();
    for &op in Op::ALL {
        for _ in 0..200 {
            let page = page([random.instruction(op)]);
            match Translation::of(&page, 0) {
                Some(translation) => assert_eq!(check(&translation), 1, "{op:?}"),
                None => untranslated.push(op),
            }
        }
    }
    untranslated.dedup();
    let expected: Vec<Op> = Op::ALL.iter().copied().filter(|op| ends(*op)).collect();
    assert_eq!(untranslated, expected);
}

#[test]
fn pages_of_instructions_by_chance_become_well_formed_code() {
    if let Err(lacks) = translator_support() {
        return eprintln!("SKIPPED: this host lacks {}", lacks.join(", "));
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let ops: Vec<Op> = Op::ALL.iter().copied().filter(|op| !ends(*op)).collect();
    let mut instructions = 0;
    for _ in 0..500 {
        let words: Vec<u32> = (0..PAGE / 4)
            .map(|_| {
                let op = ops[random.next() as usize % ops.len()];
                random.instruction(op)
            })
            .collect();
        let entry = random.next() as u16 % (PAGE as u16 / 4) * 4;
        let translation = Translation::of(&page(words), entry).expect("a translation");
        instructions += check(&translation);
    }
    assert!(instructions > 5000, "{instructions}");
}

/// Whether no unit goes beyond the operation.
fn ends(op: Op) -> bool {
    op.spec().class == Class::System || op == Op::FenceI
}
