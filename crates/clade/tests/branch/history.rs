//! Disks keep no history that no snapshot has.

use std::path::PathBuf;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use crate::common::images::alone;
use crate::common::{amount, timeout, wait};
use crate::world::{World, files, name_of};

/// More layers than a disk keeps that nobody else has.
const MANY: usize = 34;

struct History {
    world: World,
    /// What the guest wrote, a line at a time.
    lines: String,
}

impl History {
    fn write(&mut self, line: &str) {
        let script = format!("echo {line} >>/history; sync");
        self.world.shell("box", &script);
        self.lines.push_str(&format!("{line}\n"));
    }

    /// A snapshot more, and its layer above the disk.
    fn snapshot(&self, tag: &str) {
        self.world
            .done(&["snapshot", "box", "--disk-only", "-t", tag]);
    }

    /// Many of these, which are soon removed.
    fn make_many(&mut self, word: &str) {
        for number in 0..MANY {
            // Most have nothing.
            if number % 8 == 0 {
                self.write(&format!("{word}-{number}"));
            }
            self.snapshot("passing");
            self.world.done(&["snapshot", "rm", "box@passing"]);
        }
    }

    /// The layers in the machine's folder.
    fn layers(&self) -> Vec<PathBuf> {
        let mut files = files(&self.world.folder("box"));
        files.retain(|path| name_of(path).ends_with(".qcow2"));
        files
    }

    fn assert_is_there(&self) {
        assert_eq!(self.world.shell("box", "cat /history"), self.lines);
        self.world.report("box");
    }
}

#[test]
fn layers_that_no_snapshot_has_become_one_when_the_machine_goes_on() {
    let _alone = alone();
    let Some(world) = World::new("layers become one") else {
        return;
    };
    world.start("box", &[]);
    let lines = String::new();
    let mut history = History { world, lines };
    history.make_many("early");
    history.world.done(&["snapshot", "box", "-t", "kept"]);
    let then = history.lines.clone();
    history.make_many("late");
    assert!(history.layers().len() > 2 * MANY);

    history.world.done(&["suspend", "box"]);
    history.world.done(&["resume", "box"]);
    history.assert_is_there();
    // What the snapshot has, those above and the one that is written.
    let left = history.layers();
    assert!(left.len() <= MANY + 4, "{left:?}");
    history.world.done(&["verify"]);
    let kept = history.world.snapshots().remove(0);
    history.world.check_disk(&history.world.disk_of(&kept));
    history.world.done(&["clone", "box@kept", "--name", "old"]);
    assert_eq!(history.world.shell("old", "cat /history"), then);
    history.world.done(&["rm", "-f", "old"]);

    // Whenever who makes one of them is killed.
    history.world.done(&["snapshot", "rm", "box@kept"]);
    for round in 0..amount("layers become one", 3, "kills") {
        history.make_many(&format!("round-{round}"));
        history.world.done(&["suspend", "box"]);
        let mut resuming = history.world.home.clade(&["resume", "box"]);
        let resuming = resuming.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut resuming = resuming.expect("clade");
        thread::sleep(Duration::from_millis(20 * u64::from(round)));
        resuming.kill().expect("kill");
        wait(&mut resuming);
        go_on(&history.world);
        history.assert_is_there();
    }
    history.make_many("last");
    history.world.done(&["kill", "box"]);
    go_on(&history.world);
    let left = history.layers();
    assert!(left.len() < MANY, "{left:?}");
    assert_eq!(history.world.shell("box", "cat /history"), history.lines);
    let disk = &history.world.inspect("box")["config"]["disks"][0]["path"];
    let disk = disk.as_str().expect("a path").to_owned();
    history.world.done(&["kill", "box"]);
    let disk = history.world.folder("box").join(disk);
    history.world.check_disk(&disk);
}

/// Lets the machine go on, whoever was killed at that.
fn go_on(world: &World) {
    if world.home.run(&["resume", "box"]).code != Some(0) {
        world.done(&["start", "box"]);
    }
    world.done(&["wait", "box", "--for", "ready", "--timeout", &timeout(55)]);
}
