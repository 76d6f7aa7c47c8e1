//! What each machine and each snapshot must be, as the host knows it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::world::{Report, World};

/// A guest's clock and the host's may differ by so much where two readings are compared.
const SLACK: Duration = Duration::from_millis(500);

/// What a guest was when it was last looked at, or kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct Past {
    /// The words that were written, in order.
    pub(crate) words: Vec<String>,
    report: Report,
    /// The guest's monotonic clock is not beyond this.
    uptime: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Running,
    Paused,
    Suspended,
}

/// A machine.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) name: String,
    pub(crate) life: Life,
    pub(crate) past: Past,
    /// Since when its clock has gone on.
    since: Instant,
}

impl Branch {
    /// One that goes on, no earlier than `since`, from what was kept.
    pub(crate) fn new(name: &str, past: Past, since: Instant) -> Self {
        Self {
            name: name.to_owned(),
            life: Life::Running,
            past,
            since,
        }
    }

    /// What a snapshot of it that was just taken is.
    pub(crate) fn past(&self) -> Past {
        let runs = self.life == Life::Running;
        let ran = runs.then(|| self.since.elapsed());
        Past {
            uptime: self.past.uptime + ran.unwrap_or_default(),
            ..self.past.clone()
        }
    }

    /// It stands still by now.
    pub(crate) fn stop(&mut self, life: Life) {
        self.past = self.past();
        self.life = life;
    }

    /// It goes on, no earlier than `since`.
    pub(crate) fn go_on(&mut self, since: Instant) {
        self.since = since;
        self.life = Life::Running;
    }

    /// A machine that was just started: what it is from now on, it must not fall behind.
    pub(crate) fn boot(&mut self, world: &World) {
        world.shell(
            &self.name,
            "echo 0 >/history; echo 0 >/dev/shm/history; md5sum /data/* >/sums",
        );
        self.past.words.push("0".to_owned());
        self.past.uptime = Duration::from_secs(60);
        self.check(world);
    }

    /// Looks whether it is what it must be, and works.
    pub(crate) fn check(&mut self, world: &World) {
        let began = Instant::now();
        let script = "check report; date +%s; cat /history /dev/shm/history; md5sum -c -s /sums || echo torn";
        let said = world.shell(&self.name, script);
        let ended = Instant::now();
        let report = Report::of(&said);
        let name = &self.name;
        assert_eq!(report.figure("error"), 0, "{name}: {report:?}");
        assert!(
            !report.is_behind(&self.past.report),
            "{name}: {report:?} after {:?}",
            self.past
        );
        let uptime = Duration::from_millis(report.figure("uptime_ms"));
        let most = self.past.uptime + (ended - self.since) + SLACK;
        assert!(
            uptime <= most,
            "{name}: its clock jumped: {uptime:?} of at most {most:?}"
        );

        let mut lines = said.lines().skip_while(|line| line.contains(' '));
        let date: u64 = lines
            .next()
            .and_then(|line| line.parse().ok())
            .expect("a date");
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        assert!(
            date.abs_diff(now) <= 2 + (ended - began).as_secs(),
            "{name}: {date} at {now}"
        );
        // On the disk, and in memory.
        let twice = self.past.words.iter().chain(&self.past.words);
        assert!(lines.eq(twice), "{said} is not twice {:?}", self.past.words);
        self.past.report = report;
        self.past.uptime = uptime;
        self.since = began;
    }

    /// Has it write a word, and noise with its sum; on the disk for good, or not.
    pub(crate) fn write(&mut self, world: &World, word: &str, synced: bool) {
        let place = self.past.words.len() % 3;
        let sync = if synced { "sync" } else { "" };
        let script = format!(
            "echo {word} >>/history; echo {word} >>/dev/shm/history; \
             dd if=/dev/urandom of=/data/{place} bs=64k count=6 2>/dev/null; \
             md5sum /data/* >/sums; {sync}"
        );
        world.shell(&self.name, &script);
        self.past.words.push(word.to_owned());
    }

    /// Has it read all from the disk again that it does not need to remember.
    pub(crate) fn forget(&self, world: &World) {
        world.shell(&self.name, "sync; echo 3 >/proc/sys/vm/drop_caches");
    }
}
