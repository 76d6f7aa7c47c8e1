use super::index::{Run, append};
use super::page_map::Extent;

/// Runs with others laid over them. Both are sorted by page, and so is the result; what is new is in
/// the layer with number `layer`.
pub(super) fn overlay(base: &[Run], new: &[Extent], layer: u32) -> Vec<Run> {
    let mut runs = Vec::with_capacity(base.len() + 2 * new.len());
    let mut base = base.iter().copied();
    let mut next = base.next();
    for extent in new {
        let covered = extent.range();
        while let Some(run) = next.filter(|run| run.page < covered.end) {
            if run.page < covered.start {
                append(&mut runs, run.within(run.page..covered.start));
            }
            if run.end() > covered.end {
                next = Some(run.within(covered.end..run.end()));
                break;
            }
            next = base.next();
        }
        if let Some(slot) = extent.slot {
            let (page, pages) = (extent.page, extent.pages);
            append(
                &mut runs,
                Run {
                    page,
                    pages,
                    layer,
                    slot,
                },
            );
        }
    }
    for run in next.into_iter().chain(base) {
        append(&mut runs, run);
    }
    runs
}
