use super::super::index::MAX_SLOTS;
use super::super::{LayerName, MAX_PAGES, MAX_RUNS, MemoryIndex, Run, format};
use crate::ContentError;

use proptest::prelude::*;

fn run(page: u64, pages: u64, layer: u32, slot: u64) -> Run {
    Run {
        page,
        pages,
        layer,
        slot,
    }
}

fn names(names: &[&str]) -> Vec<LayerName> {
    names
        .iter()
        .map(|name| LayerName::new(*name).unwrap())
        .collect()
}

fn small() -> MemoryIndex {
    let runs = vec![
        run(0x80000, 512, 0, 0),
        run(0x80300, 1, 1, 7),
        run(0x90000, 9, 0, 600),
    ];
    MemoryIndex::new(names(&["a.mem", "b.mem"]), runs).unwrap()
}

/// A file that says what it likes, with the right checksum.
fn forged(change: impl FnOnce(&mut Vec<u8>)) -> Result<MemoryIndex, ContentError> {
    let mut bytes = format::encode(&small());
    bytes.truncate(bytes.len() - 32);
    change(&mut bytes);
    let checksum = blake3::hash(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    format::decode(&bytes)
}

fn forged_u32(at: usize, number: u32) -> Result<MemoryIndex, ContentError> {
    forged(|bytes| bytes[at..at + 4].copy_from_slice(&number.to_le_bytes()))
}

#[test]
fn runs_merge_and_unused_layers_go() {
    let runs = vec![
        run(0, 1, 1, 5),
        run(1, 2, 1, 6),
        run(3, 1, 1, 9),
        run(5, 1, 3, 0),
    ];
    let index = MemoryIndex::new(names(&["a", "b", "c", "d"]), runs).unwrap();
    assert_eq!(index.layers(), names(&["b", "d"]));
    assert_eq!(
        index.runs(),
        [run(0, 3, 0, 5), run(3, 1, 0, 9), run(5, 1, 1, 0)]
    );
    assert_eq!(index.page_count(), 5);
    assert_eq!(index.layer_lengths(), [10 * 4096, 4096]);
    assert_eq!(index.place(2), Some((&index.layers()[0], 7)));
    assert_eq!(index.place(4), None);
    assert_eq!(index.place(6), None);
}

#[test]
fn what_is_outside_of_the_limits_is_refused() {
    let bad = [
        vec![run(0, 0, 0, 0)],
        vec![run(0, 1, 1, 0)],
        vec![run(MAX_PAGES, 1, 0, 0)],
        vec![run(1, u64::MAX, 0, 0)],
        vec![run(0, 1, 0, MAX_SLOTS)],
        vec![run(0, 2, 0, u64::MAX)],
        vec![run(0, 2, 0, 0), run(1, 1, 0, 5)],
        vec![run(2, 1, 0, 0), run(1, 1, 0, 5)],
        (0..=MAX_RUNS as u64).map(|n| run(n, 1, 0, 2 * n)).collect(),
    ];
    for runs in bad {
        assert!(MemoryIndex::new(names(&["a"]), runs).is_err());
    }
    let twice = vec![run(0, 1, 0, 0), run(1, 1, 1, 0)];
    assert!(MemoryIndex::new(names(&["a", "a"]), twice).is_err());
}

#[test]
fn every_flipped_bit_and_every_missing_end_is_refused() {
    let bytes = format::encode(&small());
    assert_eq!(format::decode(&bytes).unwrap(), small());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            let error = format::decode(&damaged).expect_err("a flipped bit");
            assert_eq!(matches!(error, ContentError::Foreign { .. }), at < 8);
            assert_eq!(matches!(error, ContentError::Damaged { .. }), at >= 8);
        }
        assert!(format::decode(&bytes[..at]).is_err());
    }
    assert!(format::decode(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn another_version_is_refused_by_name() {
    let newer = forged_u32(8, 2).unwrap_err().to_string();
    assert!(
        newer.contains("newer Clade") && newer.contains("version 2"),
        "{newer}"
    );
    let older = forged_u32(8, 0).unwrap_err().to_string();
    assert!(older.contains("older Clade"), "{older}");
}

#[test]
fn a_forged_file_is_refused_without_taking_its_word_for_sizes() {
    assert_eq!(forged(|_| ()).unwrap(), small());
    assert!(forged_u32(12, u32::MAX).is_err());
    assert!(forged_u32(16, u32::MAX).is_err());
    assert!(forged_u32(16, 2).is_err());
    assert!(forged(|bytes| bytes[21] = b'/').is_err());
    assert!(forged(|bytes| bytes[20] = 255).is_err());
    assert!(forged(|bytes| bytes.push(0)).is_err());
    assert!(forged(|bytes| bytes.truncate(30)).is_err());
}

#[test]
fn a_file_round_trips_and_a_damaged_one_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("memory.index");
    MemoryIndex::default().write(&path).unwrap();
    assert_eq!(MemoryIndex::read(&path).unwrap(), MemoryIndex::default());
    small().write(&path).unwrap();
    assert_eq!(MemoryIndex::read(&path).unwrap(), small());
    std::fs::write(&path, b"x").unwrap();
    let error = MemoryIndex::read(&path).unwrap_err().to_string();
    assert!(error.contains("memory.index"), "{error}");
}

proptest! {
    #[test]
    fn any_index_round_trips(
        pieces in prop::collection::vec((0u64..3, 1u64..1 << 20, 0u32..5, 0u64..1 << 40), 0..50)
    ) {
        let mut page = 0;
        let mut runs = Vec::new();
        for (gap, pages, layer, slot) in pieces {
            runs.push(run(page + gap, pages, layer, slot));
            page += gap + pages;
        }
        let index = MemoryIndex::new(names(&["a", "b", "c", "d", "e"]), runs).unwrap();
        prop_assert_eq!(format::decode(&format::encode(&index)).unwrap(), index);
    }

    #[test]
    fn any_bytes_are_refused_and_nothing_panics(bytes: Vec<u8>) {
        prop_assert!(format::decode(&bytes).is_err());
        let _ = forged(|file| { file.truncate(12); file.extend(bytes); });
    }
}
