//! Two machines that must not differ, side by side.

use super::machine::Machine;
use super::report;

/// How far both machines go before they are compared.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stride {
    /// Time that passes before.
    pub(crate) ns: u64,
    /// Instructions and exceptions together.
    pub(crate) instructions: u64,
}

/// Memory is compared after about that many instructions.
const MEMORY_INTERVAL: u64 = 4096;

/// A reference, and the machine that must be equal to it.
pub(crate) struct Pair {
    pub(crate) reference: Machine,
    pub(crate) subject: Machine,
}

impl Pair {
    pub(crate) fn advance(&mut self, stride: Stride) {
        let Stride { ns, instructions } = stride;
        self.reference.advance(ns, instructions);
        self.subject.advance(ns, instructions);
    }

    /// What differs in the harts.
    pub(crate) fn hart_difference(&self) -> Option<String> {
        let (expected, found) = (self.reference.hart(), self.subject.hart());
        (expected != found).then(|| report::harts(expected, found))
    }

    /// What differs in memory and on the bus.
    pub(crate) fn outside_difference(&self) -> Option<String> {
        let (expected, found) = (self.reference.memory(), self.subject.memory());
        if expected != found {
            return Some(report::memories(&expected, &found));
        }
        let (expected, found) = (self.reference.log(), self.subject.log());
        (expected != found).then(|| report::logs(&expected, &found))
    }

    /// What differs in anything.
    fn difference(&self) -> Option<String> {
        self.hart_difference().or_else(|| self.outside_difference())
    }
}

/// Takes a pair that `make` makes along `strides`, or to its program's end. The error tells where
/// the machines first differ.
pub(crate) fn run(make: impl Fn() -> Pair, strides: &[Stride]) -> Result<(), String> {
    let mut pair = make();
    // Up to here memories are known to be equal.
    let mut checked = 0;
    let mut since = 0;
    for (index, &stride) in strides.iter().enumerate() {
        pair.advance(stride);
        since += stride.instructions;
        let end = pair.reference.is_done() || index + 1 == strides.len();
        if pair.hart_difference().is_some() {
            let differs = Pair::hart_difference;
            return Err(locate(make, &strides[..=index], index, differs));
        }
        if since >= MEMORY_INTERVAL || end {
            if pair.outside_difference().is_some() {
                let differs = Pair::difference;
                return Err(locate(make, &strides[..=index], checked, differs));
            }
            (checked, since) = (index + 1, 0);
        }
        if end {
            break;
        }
    }
    Ok(())
}

/// Repeats a run that ended in a difference for a stride after which there is one and before which
/// there is none (as after the first `equal`), and the number of its instructions; tells all.
fn locate(
    make: impl Fn() -> Pair,
    strides: &[Stride],
    equal: usize,
    differs: impl Fn(&Pair) -> Option<String>,
) -> String {
    let after = |strides: &[Stride]| {
        let mut pair = make();
        strides.iter().for_each(|&stride| pair.advance(stride));
        differs(&pair)
    };
    let end = change(equal as u64, strides.len() as u64, |end| {
        after(&strides[..end as usize]).is_some()
    });
    let (before, last) = (&strides[..end as usize - 1], strides[end as usize - 1]);
    let partly = |instructions| {
        [
            before,
            &[Stride {
                instructions,
                ..last
            }],
        ]
        .concat()
    };
    let instructions = change(0, last.instructions, |instructions| {
        after(&partly(instructions)).is_some()
    });
    let Some(difference) = after(&partly(instructions)) else {
        return "The machines differed once, and not again when the run was repeated".into();
    };
    let mut trace = make().reference;
    for stride in before {
        trace.advance(stride.ns, stride.instructions);
    }
    // A stride begins with a look at the clock.
    trace.advance(last.ns, 0);
    format!(
        "After {} strides, {instructions} of {} instructions into the next:\n{difference}\n\
         The reference goes\n{}",
        before.len(),
        last.instructions,
        report::trace(&mut trace, instructions),
    )
}

/// A number in `low + 1..=high` for which `holds`, when it does for `high`, and not for the one
/// before it.
fn change(mut low: u64, mut high: u64, holds: impl Fn(u64) -> bool) -> u64 {
    while high - low > 1 {
        let middle = low.midpoint(high);
        if holds(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
    high
}
