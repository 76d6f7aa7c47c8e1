//! How long the guest stands still, whatever the size of its memory.

use std::io::BufRead;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::Session;
use super::samples::Column;

/// Prints the time since the guest started, without end.
const LOOP: &str = "while read -r up idle </proc/uptime; do echo $up; done";

/// How long the loop is watched without a snapshot, before one is taken.
const WATCHED: Duration = Duration::from_millis(400);

/// Machines of these sizes, in MiB, and how much of that the guest writes to.
const SIZES: [(u64, u64); 3] = [(256, 128), (1024, 700), (4096, 3000)];

impl Session<'_> {
    /// The longest silence of a loop in the guest, without a snapshot and with one.
    pub(super) fn gaps(&mut self, source: &str, round: u32) -> Result<(), String> {
        let (mut child, mut output) = self
            .clade
            .reading(&["exec", source, "--", "sh", "-c", LOOP])?;
        let (heard, hears) = mpsc::channel();
        let listener = thread::spawn(move || {
            let mut line = String::new();
            while output.read_line(&mut line).is_ok_and(|count| count > 0) {
                line.clear();
                if heard.send(Instant::now()).is_err() {
                    break;
                }
            }
        });
        let first = hears.recv_timeout(Duration::from_secs(60));
        first.map_err(|_| "the guest's loop prints nothing")?;
        let watched = Instant::now();
        thread::sleep(WATCHED);
        let begun = Instant::now();
        let taken = self.clade.snapshot(source, &format!("watched-{round}"));
        let ended = Instant::now();
        thread::sleep(Duration::from_millis(100));
        let _ = child.kill();
        let _ = child.wait();
        let times: Vec<Instant> = hears.iter().collect();
        let _ = listener.join();
        taken?;
        let without = longest(&times, watched, begun);
        let with = longest(&times, begun, ended);
        self.time("snapshot-gap-without", Column::Clade, without);
        self.time("snapshot-gap", Column::Clade, with);
        Ok(())
    }

    /// Machines with much memory, most of it written to.
    pub(super) fn pauses(&mut self) -> Result<(), String> {
        for (size, written) in SIZES {
            if self.options.quick && size > 256 {
                eprintln!("SKIPPED: {size} MiB: --quick has the smallest alone");
                continue;
            }
            let free =
                clade_store::free_space(self.clade.data()).map_err(|error| error.to_string())?;
            if free < (written * 3 / 2) << 20 {
                eprintln!(
                    "SKIPPED: {size} MiB: there are {} MiB on the disk",
                    free >> 20
                );
                continue;
            }
            let name = self.name(&format!("{size}"));
            self.clade.start(&name, &["mini"], &format!("{size}M"))?;
            self.clade.shell(&name, &fill(written))?;
            let (time, first) = self.clade.snapshot(&name, "first")?;
            self.kept(&format!("pause-{size}-first"), time, &first)?;
            for round in 1..=self.rounds.min(10) {
                let (time, kept) = self.clade.snapshot(&name, &format!("idle-{round}"))?;
                self.kept(&format!("pause-{size}-idle"), time, &kept)?;
            }
            self.clade.remove(&[name])?;
            self.clade.forget()?;
        }
        Ok(())
    }
}

/// Fills so many MiB of memory with what is not zero.
fn fill(megabytes: u64) -> String {
    format!(
        "mkdir -p /fill && mount -t tmpfs -o size={}m tmpfs /fill && \
         dd if=/dev/urandom of=/fill/0 bs=1M count=4 2>/dev/null && i=4 && \
         while [ $i -lt {megabytes} ]; do cat /fill/0 >/fill/$i || exit 1; i=$((i+4)); done",
        megabytes + 16
    )
}

/// The longest time between two of `times` of which the one or the other lies between `from` and `to`.
fn longest(times: &[Instant], from: Instant, to: Instant) -> Duration {
    let pairs = times
        .windows(2)
        .filter(|pair| pair[1] > from && pair[0] < to);
    let gaps = pairs.map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or(Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_counts_that_reaches_into_the_time() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let times = [at(0), at(50), at(60), at(90), at(91), at(200)];
        assert_eq!(longest(&times, at(55), at(90)), Duration::from_millis(30));
        assert_eq!(longest(&times, at(45), at(55)), Duration::from_millis(50));
        assert_eq!(longest(&times, at(300), at(400)), Duration::ZERO);
    }
}
