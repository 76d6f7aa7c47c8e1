use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};

use proptest::prelude::*;

use super::super::{Joining, LayerName, LayerWriter, MemoryIndex, PAGE, Run};

/// Pages that the tests use.
const PAGES: u64 = 300;

/// What a page has: this byte all over, but not quite.
type Model = BTreeMap<u64, u8>;

#[derive(Debug, Clone)]
enum Step {
    Run(u64, Vec<u8>),
    Zeroes(Range<u64>),
    Whole(u64, Vec<u8>),
}

fn content(mark: u8) -> [u8; PAGE] {
    let mut page = [0; PAGE];
    // A page that differs from zero in its last byte alone is not zero.
    page[PAGE - 1] = mark;
    page
}

fn contents(marks: &[u8]) -> Vec<[u8; PAGE]> {
    marks.iter().map(|mark| content(*mark)).collect()
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let marks = prop::collection::vec(prop_oneof![Just(0u8), Just(0u8), any::<u8>()], 1..60);
    let step = (0..PAGES - 60, marks, 0..6).prop_map(|(first, marks, kind)| match kind {
        0 => Step::Zeroes(first..first + marks.len() as u64),
        1 => Step::Whole(first, marks),
        2 => Step::Run(first, marks[..1].to_vec()),
        _ => Step::Run(first, marks),
    });
    prop::collection::vec(step, 0..12)
}

fn take(writer: &mut LayerWriter, model: &mut Model, step: &Step) {
    let mut note = |first: u64, marks: &[u8]| {
        model.extend((first..).zip(marks.iter().copied()));
    };
    match step {
        Step::Run(first, marks) => {
            writer.put_run(*first, &contents(marks)).unwrap();
            note(*first, marks);
        }
        Step::Whole(first, marks) => {
            writer.put_whole(*first, &contents(marks)).unwrap();
            note(*first, marks);
        }
        Step::Zeroes(range) => {
            writer.put_zeroes(range.clone()).unwrap();
            note(range.start, &vec![0; (range.end - range.start) as usize]);
        }
    }
}

/// Layers by name, as in a folder.
#[derive(Default)]
struct Layers(Vec<(LayerName, File)>);

impl Layers {
    fn begin(&mut self) -> (LayerName, LayerWriter) {
        let name = LayerName::new(format!("{}.mem", self.0.len())).unwrap();
        let file = tempfile::tempfile().unwrap();
        let writer = LayerWriter::new(file.try_clone().unwrap());
        self.0.push((name.clone(), file));
        (name, writer)
    }

    fn page(&self, index: &MemoryIndex, page: u64) -> [u8; PAGE] {
        let mut bytes = [0; PAGE];
        if let Some((name, slot)) = index.place(page) {
            let (_, file) = self.0.iter().find(|(known, _)| known == name).unwrap();
            file.read_exact_at(&mut bytes, slot * PAGE as u64).unwrap();
        }
        bytes
    }

    fn check(&self, index: &MemoryIndex, model: &Model) {
        for page in 0..PAGES {
            let mark = model.get(&page).copied().unwrap_or(0);
            assert_eq!(self.page(index, page)[PAGE - 1], mark, "page {page}");
        }
        let overlays = index.overlays();
        assert!(overlays.len() <= index.runs().len());
        assert_eq!(places(&overlays), places(index.runs()));
        for (name, length) in index.layers().iter().zip(index.layer_lengths()) {
            let (_, file) = self.0.iter().find(|(known, _)| known == name).unwrap();
            assert!(file.metadata().unwrap().len() >= length);
        }
    }
}

fn places(runs: &[Run]) -> BTreeMap<u64, (u32, u64)> {
    let pages = |run: &Run| {
        let (layer, slots) = (run.layer, run.slot..);
        run.range().zip(slots.map(move |slot| (layer, slot)))
    };
    runs.iter().flat_map(pages).collect()
}

proptest! {
    #[test]
    fn generations_of_layers_are_what_the_model_says(
        generations in prop::collection::vec((steps(), 1usize..40, 1usize..40, 0u64..60), 1..6)
    ) {
        let mut layers = Layers::default();
        let mut model = Model::new();
        let mut history = Vec::new();
        let mut base = MemoryIndex::default();
        for (steps, most, enough, pages) in generations {
            let joining = Joining { enough, pages, most };
            let (name, mut writer) = layers.begin();
            for step in &steps {
                take(&mut writer, &mut model, step);
            }
            // In pieces, as a large area is copied.
            for area in writer.fill_gaps(&base, joining) {
                let marks: Vec<u8> =
                    area.clone().map(|page| model.get(&page).copied().unwrap_or(0)).collect();
                for (piece, marks) in marks.chunks(7).enumerate() {
                    let first = area.start + 7 * piece as u64;
                    writer.put_whole(first, &contents(marks)).unwrap();
                }
            }
            let again = Joining { pages: 0, ..joining };
            prop_assert!(writer.fill_gaps(&base, again).is_empty());
            let (index, summary) = writer.finish(name.clone(), &base).unwrap();
            prop_assert!(index.runs().len() <= most.max(1));
            prop_assert_eq!(index.layers().contains(&name), index.layers().last() == Some(&name));
            prop_assert!(summary.pages * PAGE as u64 <= summary.length);
            history.push((index.clone(), model.clone()));
            base = index;
        }
        for (index, model) in &history {
            layers.check(index, model);
        }
    }
}

#[test]
fn pages_that_are_put_again_stay_where_they_are_and_zero_pages_take_no_room() {
    let mut layers = Layers::default();
    let (name, mut writer) = layers.begin();
    writer.put_run(10, &contents(&[1; 100])).unwrap();
    writer.put(20, &content(9)).unwrap();
    writer.put_zeroes(1000..2000).unwrap();
    writer.put_run(500, &contents(&[0; 200])).unwrap();
    let (index, summary) = writer.finish(name, &MemoryIndex::default()).unwrap();
    assert_eq!((index.runs().len(), index.page_count()), (1, 100));
    assert_eq!((summary.pages, summary.length), (100, 100 * PAGE as u64));
    assert_eq!(layers.page(&index, 20), content(9));
}

#[test]
fn slots_that_are_given_up_give_their_room_back() {
    let mut layers = Layers::default();
    let (name, mut writer) = layers.begin();
    writer.put_run(0, &contents(&[1; 600])).unwrap();
    writer.put_zeroes(0..500).unwrap();
    let (index, summary) = writer.finish(name, &MemoryIndex::default()).unwrap();
    assert_eq!((summary.pages, index.page_count()), (100, 100));
    let blocks = layers.0[0].1.metadata().unwrap().blocks();
    assert!(blocks * 512 < 200 * PAGE as u64, "{blocks}");
}

#[test]
fn a_few_zero_pages_among_others_cost_no_run_and_many_are_left_out() {
    let mut marks = vec![1; 100];
    marks[20..30].fill(0);
    marks[50..80].fill(0);
    let mut layers = Layers::default();
    let (name, mut writer) = layers.begin();
    writer.put_run(0, &contents(&marks)).unwrap();
    let (index, summary) = writer.finish(name, &MemoryIndex::default()).unwrap();
    let ranges: Vec<_> = index.runs().iter().map(|run| run.range()).collect();
    assert_eq!(ranges, [0..50, 80..100]);
    assert_eq!((summary.pages, summary.length), (60, 70 * PAGE as u64));
}

#[test]
fn a_run_that_later_layers_interrupt_is_mapped_at_once_and_one_that_has_holes_is_not() {
    let run = |page, pages, layer, slot| Run {
        page,
        pages,
        layer,
        slot,
    };
    let name = |number: u32| LayerName::new(format!("{number}.mem")).unwrap();
    let index = |runs| MemoryIndex::new((0..3).map(name).collect(), runs).unwrap();

    let interrupted = index(vec![
        run(0, 10, 0, 0),
        run(10, 2, 1, 0),
        run(12, 1, 2, 0),
        run(13, 2, 1, 3),
        run(15, 5, 0, 15),
    ]);
    let expected = [run(0, 20, 0, 0), run(10, 5, 1, 0), run(12, 1, 2, 0)];
    assert_eq!(interrupted.overlays(), expected);

    for separate in [
        vec![run(0, 10, 0, 0), run(11, 9, 0, 11)],
        vec![run(0, 10, 1, 0), run(10, 5, 0, 0), run(15, 5, 1, 15)],
        vec![run(0, 10, 0, 0), run(10, 5, 1, 0), run(15, 5, 0, 14)],
        vec![run(0, 9, 0, 0), run(10, 5, 1, 0), run(15, 5, 0, 15)],
    ] {
        let mut overlays = index(separate.clone()).overlays();
        overlays.sort_by_key(|run| run.page);
        assert_eq!(overlays, separate);
    }
}

/// One run, with four pages of its own above it.
fn four_pages_among_others(layers: &mut Layers) -> (MemoryIndex, LayerWriter) {
    let (name, mut writer) = layers.begin();
    writer.put_run(0, &contents(&[1; 300])).unwrap();
    let (base, _) = writer.finish(name, &MemoryIndex::default()).unwrap();
    let (_, mut writer) = layers.begin();
    for page in [50, 100, 103, 200] {
        writer.put(page, &content(2)).unwrap();
    }
    (base, writer)
}

#[test]
fn the_smallest_gaps_are_filled_first() {
    let (base, writer) = four_pages_among_others(&mut Layers::default());
    let filled = |most| {
        writer.fill_gaps(
            &base,
            Joining {
                enough: most,
                pages: 0,
                most,
            },
        )
    };
    assert!(filled(9).is_empty());
    let areas = filled(7);
    assert_eq!((areas.len(), areas[0].clone()), (1, 100..104));
}

#[test]
fn gaps_are_filled_for_so_many_pages_and_until_it_is_enough() {
    let (base, writer) = four_pages_among_others(&mut Layers::default());
    let filled = |enough, pages| {
        let joining = Joining {
            enough,
            pages,
            most: 100,
        };
        let areas = writer.fill_gaps(&base, joining);
        let ends = areas.iter().map(|area| (area.start, area.end));
        ends.collect::<Vec<_>>()
    };
    assert_eq!(filled(1, 2), []);
    assert_eq!(filled(1, 6), [(100, 104)]);
    assert_eq!(filled(8, 300), [(100, 103)]);
    assert_eq!(filled(9, 300), []);
    assert_eq!(filled(1, 1000), [(0, 300)]);
}

#[test]
fn nothing_changed_needs_no_layer() {
    let mut layers = Layers::default();
    let (name, mut writer) = layers.begin();
    writer.put(3, &content(3)).unwrap();
    let (base, _) = writer
        .finish(name.clone(), &MemoryIndex::default())
        .unwrap();
    let (second, writer) = layers.begin();
    let (same, summary) = writer.finish(second, &base).unwrap();
    assert_eq!((same, summary.pages), (base.clone(), 0));
    let (_, mut writer) = layers.begin();
    writer.put(4, &content(3)).unwrap();
    let error = writer.finish(name, &base).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn a_full_disk_is_an_error_once_and_for_all() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut writer = LayerWriter::new(full);
    let error = writer.put_run(0, &contents(&[1; 512])).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(writer.put(0, &content(1)).is_err());
    let name = LayerName::new("a.mem").unwrap();
    assert!(writer.finish(name, &MemoryIndex::default()).is_err());
}
