//! Machines that begin with the translations of others.

use std::fs::File;
use std::os::unix::fs::FileExt;

use clade_emulate::{Tier, Tuning};

use super::machine::Machine;
use super::oracle::campaign::say;
use super::oracle::random::Random;
use super::pair::{self, Pair, Stride};
use super::{program, tuning};

const LENGTH: u64 = 50_000;

fn tuning() -> Tuning {
    Tuning {
        tier: Tier::Translator,
        hot_after: 1,
        exact_polls: true,
        ..Tuning::default()
    }
}

/// An image, a machine that executed it, and its translations; `None` where there is no translator.
fn ancestor(seed: u64) -> Option<(Vec<u8>, Machine, File)> {
    let image = program::program(seed);
    let mut machine = Machine::new(&image, tuning());
    machine.advance(0, LENGTH);
    let Some(code_cache) = machine.code_cache() else {
        say("SKIPPED: this host has no translator");
        return None;
    };
    Some((image, machine, code_cache))
}

#[test]
fn what_is_inherited_is_not_translated_again() {
    let (mut before, mut after, mut inherited, mut interpreted) = (0, 0, 0, [0; 2]);
    for seed in 0..20 {
        let Some((image, machine, code_cache)) = ancestor(seed) else {
            return;
        };
        let mut heir = Machine::inheriting(&image, tuning(), Some(code_cache));
        heir.advance(0, LENGTH);
        assert_eq!(heir.hart(), machine.hart());
        before += machine.stats().translations;
        after += heir.stats().translations;
        interpreted[0] += machine.stats().interpreted;
        interpreted[1] += heir.stats().interpreted;
        inherited += heir.pages_inherited();
    }
    assert!(inherited > 100, "{inherited} pages");
    // Programs change themselves, and are then translated anew.
    assert!(after < before / 2, "{after} translations after {before}");
    assert!(interpreted[1] < interpreted[0], "{interpreted:?}");
}

/// Generation by generation, each with what its ancestors translated, until little is new.
#[test]
fn heirs_have_heirs() {
    let Some((image, machine, mut code_cache)) = ancestor(1) else {
        return;
    };
    let mut translations = vec![machine.stats().translations];
    for _ in 0..5 {
        let mut heir = Machine::inheriting(&image, tuning(), Some(code_cache));
        heir.advance(0, LENGTH);
        assert_eq!(heir.hart(), machine.hart());
        translations.push(heir.stats().translations);
        code_cache = heir.code_cache().expect("translations");
    }
    assert!(translations[5] < translations[0], "{translations:?}");
}

#[test]
fn others_inherit_nothing() {
    let Some((image, _, code_cache)) = ancestor(2) else {
        return;
    };
    let other = Tuning {
        tlb_entries: 16,
        ..tuning()
    };
    let mut heir = Machine::inheriting(&image, other, Some(code_cache));
    heir.advance(0, LENGTH);
    assert_eq!(heir.pages_inherited(), 0);
}

/// Whatever byte is flipped, and wherever the file ends, guests do what they always do.
#[test]
fn damage_is_noticed() {
    const FLIPS: u64 = 60;
    let Some((image, machine, code_cache)) = ancestor(3) else {
        return;
    };
    let size = code_cache.metadata().expect("metadata").len();
    let mut whole = vec![0; size as usize];
    code_cache.read_exact_at(&mut whole, 0).expect("read");
    let pages = |content: &[u8]| {
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(content, 0).expect("write");
        let strides = [Stride {
            ns: 0,
            instructions: LENGTH,
        }];
        let make = || Pair {
            reference: Machine::new(&image, tuning::reference(&tuning())),
            subject: Machine::inheriting(&image, tuning(), file.try_clone().ok()),
        };
        pair::run(make, &strides).expect("no difference");
        let mut heir = make().subject;
        heir.advance(0, LENGTH);
        assert_eq!(heir.hart(), machine.hart());
        heir.pages_inherited()
    };
    let all = pages(&whole);
    assert!(all > 0);
    let mut random = Random::new(3);
    let mut refused = 0;
    for _ in 0..FLIPS {
        let mut flipped = whole.clone();
        let at = random.below(size) as usize;
        flipped[at] ^= 1 << random.below(8);
        refused += u64::from(pages(&flipped) < all);
    }
    // Elsewhere it is in padding, or in code that is not used again.
    assert!(refused > FLIPS / 4, "{refused} of {FLIPS} were seen");
    for _ in 0..FLIPS {
        let end = random.below(size) as usize;
        assert_eq!(pages(&whole[..end]), 0, "{end} of {size} bytes");
    }
}
