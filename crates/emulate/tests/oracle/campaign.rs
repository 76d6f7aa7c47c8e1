//! Many programs from many seeds, as the environment says.

use std::io::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number in an environment variable.
pub(crate) fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let digits = text.trim_start_matches("0x");
    let radix = if digits == text { 10 } else { 16 };
    let number = u64::from_str_radix(digits, radix);
    Some(number.unwrap_or_else(|_| panic!("{name} is {text}, which is not a number")))
}

/// Says something past the test harness, which keeps the output of tests that pass.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The seeds to run: `PREFIX_PROGRAMS` of them from `PREFIX_SEED` on; with a seed alone that one,
/// and else `default` from `first` on.
pub(crate) fn seeds(prefix: &str, first: u64, default: u64) -> Range<u64> {
    let seed = variable(&format!("{prefix}_SEED"));
    let programs = variable(&format!("{prefix}_PROGRAMS"));
    let programs = programs.unwrap_or(if seed.is_some() { 1 } else { default });
    let first = seed.unwrap_or(first);
    first..first + programs
}

/// Does `check` for all of `seeds` on all of the host's processors. Panics with all seeds that
/// failed and one of the reports, each of which begins with a line that names its seed.
pub(crate) fn run(seeds: Range<u64>, check: impl Fn(u64) -> Result<(), String> + Sync) {
    let programs = seeds.end - seeds.start;
    let failures = in_parallel(seeds, check);
    if let Some(report) = failures.first() {
        let seeds: Vec<&str> = failures.iter().filter_map(|f| f.lines().next()).collect();
        panic!(
            "{} of {programs} programs differ:\n{}\n\nOne is {report}",
            failures.len(),
            seeds.join("\n")
        );
    }
}

/// The errors, in no order.
fn in_parallel(seeds: Range<u64>, work: impl Fn(u64) -> Result<(), String> + Sync) -> Vec<String> {
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let worker = || {
        let mut failures = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return failures;
            }
            failures.extend(work(seed).err());
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        let results = workers.into_iter().map(|worker| worker.join());
        results
            .flat_map(|failures| failures.expect("a worker panicked"))
            .collect()
    })
}
