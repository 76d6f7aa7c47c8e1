//! A walk at random through everything that can be done with states of machines.

use std::time::Instant;

use crate::common::images::alone;
use crate::model::{Branch, Life, Past};
use crate::world::{Chance, World, number};

/// More machines and snapshots than this there never are.
const BRANCHES: usize = 4;
const SNAPSHOTS: usize = 6;

struct Walk {
    world: World,
    chance: Chance,
    branches: Vec<Branch>,
    /// By what they are called, and who they are of.
    snapshots: Vec<(String, String, Past)>,
    /// How many names were given.
    names: u32,
}

impl Walk {
    fn begin(test: &str, cpus: &str) -> Option<Self> {
        let world = World::new(test)?;
        world.start("first", &["--cpus", cpus]);
        let mut first = Branch::new("first", Past::default(), Instant::now());
        // It has been up for less.
        first.boot(&world);
        Some(Self {
            world,
            chance: Chance::new(test),
            branches: vec![first],
            snapshots: Vec::new(),
            names: 0,
        })
    }

    fn name(&mut self, kind: &str) -> String {
        self.names += 1;
        format!("{kind}{}", self.names)
    }

    /// One step. What it was is told, for whoever sees the test fail.
    fn step(&mut self) {
        let chosen = self.chance.below(self.branches.len());
        let life = self.branches[chosen].life;
        let name = self.branches[chosen].name.clone();
        let running = life == Life::Running;
        let what = match self.chance.below(16) {
            0..3 if running => self.write(chosen),
            3 | 4 if running => self.check(chosen),
            5..8 => self.snapshot(chosen),
            8 | 9 => self.restore(),
            10 => self.restore_as(),
            11 => self.clone_machine(chosen),
            12 if running => self.stop(chosen, Life::Suspended),
            13 if running => self.stop(chosen, Life::Paused),
            14 => self.remove(chosen),
            _ if !running => self.go_on(chosen),
            _ => return,
        };
        eprintln!("  {name} ({life:?}): {what}");
    }

    fn write(&mut self, chosen: usize) -> String {
        let (word, synced) = (self.name("word"), self.chance.below(2) == 0);
        self.branches[chosen].write(&self.world, &word, synced);
        format!("writes {word}")
    }

    fn check(&mut self, chosen: usize) -> String {
        if self.chance.below(2) == 0 {
            self.branches[chosen].forget(&self.world);
        }
        self.branches[chosen].check(&self.world);
        "is checked".to_owned()
    }

    fn snapshot(&mut self, chosen: usize) -> String {
        if self.snapshots.len() == SNAPSHOTS {
            let removed = self.chance.below(SNAPSHOTS);
            let (snapshot, ..) = self.snapshots.remove(removed);
            self.world.done(&["snapshot", "rm", &snapshot]);
            return format!("removal of {snapshot}");
        }
        let tag = self.name("t");
        let branch = &self.branches[chosen];
        let said = self.world.done(&["snapshot", &branch.name, "-t", &tag]);
        let called = format!("{}@{tag}", branch.name);
        assert_eq!(said.trim(), called);
        let past = branch.past();
        self.snapshots
            .push((called.clone(), branch.name.clone(), past));
        called
    }

    /// In place, whatever the machine is just doing.
    fn restore(&mut self) -> String {
        let Some(chosen) = self.choose_snapshot() else {
            return "no snapshot".to_owned();
        };
        let (snapshot, owner, past) = self.snapshots[chosen].clone();
        let Some(place) = self.branches.iter().position(|one| one.name == owner) else {
            let said = self.world.refused(&["restore", &snapshot]);
            assert!(said.contains("--as"), "{said}");
            return format!("nobody left to be {snapshot}");
        };
        let since = Instant::now();
        self.world.done(&["restore", &snapshot]);
        self.branches[place] = Branch::new(&owner, past, since);
        self.look_at_once(place);
        format!("restores {snapshot}")
    }

    fn restore_as(&mut self) -> String {
        let Some(chosen) = self.choose_snapshot() else {
            return "no snapshot".to_owned();
        };
        let (snapshot, _, past) = self.snapshots[chosen].clone();
        let Some(name) = self.free_name() else {
            return "no room".to_owned();
        };
        let since = Instant::now();
        self.world.done(&["restore", &snapshot, "--as", &name]);
        self.branches.push(Branch::new(&name, past, since));
        self.look_at_once(self.branches.len() - 1);
        format!("{name} from {snapshot}")
    }

    fn clone_machine(&mut self, chosen: usize) -> String {
        let Some(name) = self.free_name() else {
            return "no room".to_owned();
        };
        let since = Instant::now();
        let source = self.branches[chosen].name.clone();
        self.world.done(&["clone", &source, "--name", &name]);
        let past = self.branches[chosen].past();
        self.branches.push(Branch::new(&name, past, since));
        self.look_at_once(self.branches.len() - 1);
        format!("clone {name}")
    }

    fn stop(&mut self, chosen: usize, life: Life) -> String {
        let branch = &mut self.branches[chosen];
        let verb = if life == Life::Paused {
            "pause"
        } else {
            "suspend"
        };
        self.world.done(&[verb, &branch.name]);
        branch.stop(life);
        verb.to_owned()
    }

    fn go_on(&mut self, chosen: usize) -> String {
        let branch = &mut self.branches[chosen];
        let since = Instant::now();
        self.world.done(&["resume", &branch.name]);
        branch.go_on(since);
        self.look_at_once(chosen);
        "resumes".to_owned()
    }

    fn remove(&mut self, chosen: usize) -> String {
        if self.branches.len() < 3 {
            return "stays".to_owned();
        }
        let branch = self.branches.remove(chosen);
        self.world.done(&["rm", "-f", &branch.name]);
        "is removed".to_owned()
    }

    /// Often, what goes on is looked at before it has done anything else.
    fn look_at_once(&mut self, chosen: usize) {
        if self.chance.below(2) == 0 {
            self.branches[chosen].check(&self.world);
        }
    }

    fn choose_snapshot(&mut self) -> Option<usize> {
        let count = self.snapshots.len();
        (count > 0).then(|| self.chance.below(count))
    }

    fn free_name(&mut self) -> Option<String> {
        (self.branches.len() < BRANCHES).then(|| self.name("b"))
    }

    /// All branches and all disks, those of snapshots too.
    fn end(mut self) {
        for branch in &mut self.branches {
            if branch.life != Life::Running {
                let since = Instant::now();
                self.world.done(&["resume", &branch.name]);
                branch.go_on(since);
            }
            branch.forget(&self.world);
            branch.check(&self.world);
        }
        for branch in &self.branches {
            self.world.done(&["kill", &branch.name]);
            let disk = self.world.inspect(&branch.name)["config"]["disks"][0]["path"].clone();
            let disk = disk.as_str().expect("a path");
            self.world
                .check_disk(&self.world.folder(&branch.name).join(disk));
        }
        for snapshot in self.world.snapshots() {
            self.world.check_disk(&self.world.disk_of(&snapshot));
        }
        assert_eq!(self.world.snapshots().len(), self.snapshots.len());
        assert_eq!(self.world.passing(), Vec::<std::path::PathBuf>::new());
    }
}

fn walk(test: &str, cpus: &str) {
    let _alone = alone();
    let Some(mut walk) = Walk::begin(test, cpus) else {
        return;
    };
    for _ in 0..number("CLADE_BRANCH_STEPS").unwrap_or(40) {
        walk.step();
    }
    walk.end();
}

#[test]
fn every_branch_of_a_machine_with_one_hart_is_consistent() {
    walk("branches of one hart", "1");
}

#[test]
fn every_branch_of_a_machine_with_four_harts_is_consistent() {
    walk("branches of four harts", "4");
}
