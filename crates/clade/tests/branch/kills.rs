//! Every process that has to do with states of machines, killed at any instant.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clade_disk::Format;
use clade_store::FileName;
use clade_store::snapshots::Snapshots;
use rustix::process::{Pid, Signal, kill_process};

use crate::common::images::alone;
use crate::common::{Finished, finish, long, timeout, wait_until};
use crate::world::{Chance, World, files, name_of, number};

const NAME: &str = "box";

/// More snapshots than this there never are.
const SNAPSHOTS: usize = 5;

/// What is done to the machine when something is killed.
const ERRANDS: [&str; 6] = [
    "snapshot", "snapshot", "clone", "restore", "suspend", "resume",
];

struct Siege {
    world: World,
    chance: Chance,
    store: Snapshots,
    /// The words on the machine's disk.
    words: Vec<String>,
    tags: Vec<Kept>,
    round: u32,
    /// Restores that happened although they were killed, or before.
    restored: u32,
    aim: Aim,
}

/// When to kill: at random within what such an errand lately took, so that on a host of any speed, and whatever
/// Clade becomes, some are killed at work.
#[derive(Default)]
struct Aim {
    most: BTreeMap<&'static str, Duration>,
    killed_at_work: u32,
}

impl Aim {
    /// How long after its begin an errand may be killed at the latest.
    fn most(&self, errand: &str) -> Duration {
        const FIRST: Duration = Duration::from_millis(60);
        self.most.get(errand).copied().unwrap_or(FIRST)
    }

    fn learn(&mut self, errand: &'static str, at_work: bool) {
        let most = self.most(errand);
        let most = most.mul_f64(if at_work { 1.25 } else { 0.6 });
        self.most.insert(errand, most);
        self.killed_at_work += u32::from(at_work);
    }
}

/// What a snapshot has.
#[derive(Clone)]
struct Kept {
    tag: String,
    words: Vec<String>,
    boot: String,
}

impl Siege {
    fn begin(test: &str) -> Option<Self> {
        let world = World::new(test)?;
        world.start(NAME, &[]);
        let store = Snapshots::in_folder(world.home.path("data/clade/snapshots"));
        let mut siege = Self {
            world,
            chance: Chance::new(test),
            store: store.expect("folder"),
            words: Vec::new(),
            tags: Vec::new(),
            round: 0,
            restored: 0,
            aim: Aim::default(),
        };
        siege.write();
        // The kernel makes it when it is first read.
        let boot = siege.boot();
        siege.world.done(&["snapshot", NAME, "-t", "safe"]);
        siege.keep("safe", boot);
        Some(siege)
    }

    fn keep(&mut self, tag: &str, boot: String) {
        self.tags.push(Kept {
            tag: tag.to_owned(),
            words: self.words.clone(),
            boot,
        });
    }

    fn write(&mut self) {
        let word = format!("word{}", self.round);
        self.world
            .shell(NAME, &format!("echo {word} >>/history; sync"));
        self.words.push(word);
    }

    fn round(&mut self) {
        self.round += 1;
        self.write();
        let boot = self.boot();
        let errand = ERRANDS[self.chance.below(ERRANDS.len())];
        let other = self.tags[self.chance.below(self.tags.len())].clone();
        let snapshot = format!("{NAME}@{}", other.tag);
        let tag = format!("t{}", self.round);
        let arguments = match errand {
            "snapshot" => vec!["snapshot", NAME, "-t", &tag],
            "clone" => vec!["clone", NAME, "--name", "copy"],
            "restore" => vec!["restore", &snapshot],
            verb => vec![verb, NAME],
        };
        if errand == "resume" {
            self.world.done(&["suspend", NAME]);
        }
        let machine = self.pid();
        let mut command = self.world.home.clade(&arguments);
        let command = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut command = command.expect("clade");
        let victim = match machine.filter(|_| self.chance.below(4) == 0) {
            Some(machine) => machine,
            None => command.id(),
        };
        self.kill(errand, &mut command, victim);
        // Whoever is left comes to an end.
        let ended = finish(command);
        eprintln!(
            "  {errand}, killed {}: {:?}",
            if Some(victim) == machine {
                "the machine"
            } else {
                "itself"
            },
            ended.code
        );
        self.recover((errand == "restore").then_some(other.words));
        if errand != "restore" && Some(victim) != machine {
            assert_eq!(self.boot(), boot, "its guest did not go on");
        }
        if errand == "snapshot" && self.find(&tag).is_some() {
            self.keep(&tag, boot);
        }
        self.look_at_store();
    }

    /// Kills `victim` at some instant of an errand that has just begun.
    fn kill(&mut self, errand: &'static str, command: &mut Child, victim: u32) {
        let part = self.chance.below(1000) as f64 / 1000.0;
        thread::sleep(self.aim.most(errand).mul_f64(part));
        self.aim.learn(errand, is_at_work(command));
        kill(victim);
    }

    /// The machine goes on, or starts, and has what was on its disk; or else what it was to become.
    fn recover(&mut self, other: Option<Vec<String>>) {
        let began = Instant::now();
        // A process whose owner was killed may live for a moment before it ends.
        while let Err(told) = self.go_on() {
            let patient = began.elapsed() < Duration::from_secs(20);
            let there = files(&self.world.folder(NAME));
            assert!(
                patient,
                "it can neither go on nor start: {told:?}, {there:#?}"
            );
        }
        let said = self.world.shell(NAME, "cat /history");
        let words: Vec<_> = said.lines().map(str::to_owned).collect();
        match other {
            Some(other) if words != self.words => assert_eq!(words, other),
            _ => assert_eq!(words, self.words),
        }
        self.words = words;
        self.world.report(NAME);
        if self.world.home.machines().contains(&"copy".to_owned()) {
            self.world.done(&["rm", "-f", "copy"]);
        }
        assert_eq!(self.world.home.machines(), [NAME]);
    }

    fn go_on(&self) -> Result<(), [Finished; 2]> {
        let run = |arguments: &[&str]| {
            let finished = self.world.home.run(arguments);
            if finished.code == Some(0) {
                Ok(())
            } else {
                Err(finished)
            }
        };
        let resumed = run(&["resume", NAME])
            .or_else(|resumed| run(&["start", NAME]).map_err(|started| [resumed, started]));
        resumed?;
        // Who answers goes on for good.
        let answers = run(&["wait", NAME, "--for", "ready", "--timeout", &timeout(50)])
            .and_then(|()| run(&["exec", NAME, "--", "sh", "-c", "true"]));
        answers.map_err(|told| [told.clone(), told])
    }

    /// Another after each boot.
    fn boot(&self) -> String {
        self.world
            .shell(NAME, "cat /proc/sys/kernel/random/boot_id")
    }

    /// All snapshots are whole, and nothing else is there.
    fn look_at_store(&mut self) {
        assert_eq!(self.world.passing(), Vec::<std::path::PathBuf>::new());
        let survey = self.store.list().expect("readable");
        assert!(survey.unreadable.is_empty(), "{:?}", survey.unreadable);
        assert_eq!(survey.snapshots.len(), self.tags.len());
        let latest = survey.snapshots.last().expect("the first at least");
        self.world.done(&["verify", latest.name.as_str()]);
        if self.tags.len() > SNAPSHOTS {
            let Kept { tag, words, .. } = self.tags.remove(1 + self.chance.below(SNAPSHOTS - 1));
            let snapshot = format!("{NAME}@{tag}");
            self.world.done(&["restore", &snapshot, "--as", "again"]);
            let said = self.world.shell("again", "cat /history");
            assert!(said.lines().eq(words), "{said}");
            self.world.report("again");
            self.world.done(&["rm", "-f", "again"]);
            self.world.done(&["snapshot", "rm", &snapshot]);
        }
    }

    /// Restores the machine, which runs, is paused or suspended, and kills who does it. It is then what it was,
    /// or what it was to be, and goes on with its memory.
    fn round_of_restoring(&mut self) {
        self.round += 1;
        self.write();
        let boot = self.boot();
        let other = self.tags[self.chance.below(self.tags.len())].clone();
        let before = ["inspect", "pause", "suspend"][self.chance.below(3)];
        self.world.done(&[before, NAME]);
        let snapshot = format!("{NAME}@{}", other.tag);
        let mut command = self.world.home.clade(&["restore", &snapshot]);
        let command = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut command = command.expect("clade");
        let victim = command.id();
        self.kill("restore", &mut command, victim);
        let ended = finish(command);
        let lasting = ["running", "suspended"];
        let state = wait_for_state(&self.world, &lasting);
        self.world.done(&["verify"]);
        self.recover(Some(other.words.clone()));
        let now = self.boot();
        let is_restored = self.words == other.words;
        let expected = if is_restored { &other.boot } else { &boot };
        assert_eq!(&now, expected, "its memory is lost: {state}, {ended:?}");
        self.look_at_store();
        eprintln!(
            "  restored after {before}: {:?}, then {state}, {is_restored}",
            ended.code
        );
        self.restored += u32::from(is_restored);
    }

    /// Has `round` done as often as is asked for, and then until `enough` of them were what they are for.
    fn repeat(&mut self, round: fn(&mut Self), enough: fn(&Self) -> bool) {
        let rounds = rounds();
        for done in 0..5 * rounds {
            if done >= rounds && enough(self) {
                break;
            }
            round(self);
        }
        let Self {
            round, restored, ..
        } = self;
        let at_work = self.aim.killed_at_work;
        eprintln!("killed at work {at_work} times of {round}, restored {restored} times");
        assert!(
            enough(self),
            "hardly ever killed at work, or always the same"
        );
    }

    /// Whether enough were killed at work.
    fn is_earnest(&self) -> bool {
        self.aim.killed_at_work > rounds() / 4
    }

    fn find(&self, tag: &str) -> Option<FileName> {
        let found = self.store.list().expect("readable").snapshots.into_iter();
        let mut found = found.filter(|one| one.manifest.details.name.as_deref() == Some(tag));
        found.next().map(|one| one.name)
    }

    fn pid(&self) -> Option<u32> {
        let pid = self.world.inspect(NAME)["pid"].as_u64()?;
        u32::try_from(pid).ok()
    }

    /// Nothing that was begun is left in the machine's folder once it has started again.
    fn look_at_folder(&self) {
        self.world.done(&["kill", NAME]);
        self.world.done(&["start", NAME]);
        self.world.done(&["kill", NAME]);
        let folder = self.world.folder(NAME);
        let disk = self.world.inspect(NAME)["config"]["disks"][0]["path"].clone();
        let disk = folder.join(disk.as_str().expect("a path"));
        let mut chain = clade_disk::files(&disk, Format::Qcow2).expect("a whole chain");
        chain.extend(["kernel", "initrd"].map(|name| folder.join(name)));
        let of_machine = |path: &Path| {
            let name = name_of(path);
            ["json", "log", "lock"]
                .iter()
                .any(|end| name.ends_with(end))
                || name.contains(".log.")
        };
        let left: Vec<_> = files(&folder)
            .into_iter()
            .filter(|path| !chain.contains(path) && !of_machine(path))
            .collect();
        assert!(left.is_empty(), "{left:?}");
        self.world.check_disk(&disk);
        for snapshot in self.world.snapshots() {
            self.world.check_disk(&self.world.disk_of(&snapshot));
        }
        assert_eq!(
            fs::read_dir(self.world.home.path("run/clade/run"))
                .expect("folder")
                .count(),
            0
        );
    }
}

/// A process whose owner was killed may be about to end.
fn wait_for_state(world: &World, wanted: &[&str]) -> String {
    let began = Instant::now();
    loop {
        let machine = world.inspect(NAME);
        let state = machine["state"].as_str().unwrap_or_default();
        if wanted.contains(&state) {
            return state.to_owned();
        }
        let there = files(&world.folder(NAME));
        assert!(began.elapsed() < long(), "{machine:#}, {there:#?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// How many are killed at least.
fn rounds() -> u32 {
    number("CLADE_BRANCH_KILLS").unwrap_or(20) as u32
}

fn is_at_work(command: &mut Child) -> bool {
    command.try_wait().expect("wait").is_none()
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.try_into().expect("a pid")).expect("a pid");
    // If it is gone already, so much the better.
    let _ = kill_process(pid, Signal::KILL);
}

#[test]
fn whoever_is_killed_every_snapshot_is_whole_and_the_machine_starts() {
    let _alone = alone();
    let Some(mut siege) = Siege::begin("kills") else {
        return;
    };
    siege.repeat(Siege::round, Siege::is_earnest);
    siege.look_at_folder();
    wait_until("its processes are gone", || siege.pid().is_none());
}

#[test]
fn a_restore_that_is_killed_leaves_what_was_or_what_is_to_be() {
    let _alone = alone();
    let Some(mut siege) = Siege::begin("restoring") else {
        return;
    };
    siege.repeat(Siege::round_of_restoring, |siege| {
        siege.is_earnest() && siege.restored > 0 && siege.restored < siege.round
    });
    siege.look_at_folder();
}
