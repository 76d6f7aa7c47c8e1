//! Many at once.

use std::path::PathBuf;
use std::thread;

use crate::common::amount;
use crate::common::images::alone;
use crate::world::{Chance, World, name_of};

/// So many work side by side, each so often.
const WORKERS: u32 = 20;
const ROUNDS: usize = 4;

#[test]
fn twenty_clone_snapshot_and_remove_at_once() {
    let _alone = alone();
    let Some(world) = World::new("many at once") else {
        return;
    };
    world.start("box", &[]);
    world.shell("box", "echo word >>/history; sync");
    world.done(&["snapshot", "box", "-t", "first"]);
    let mut chance = Chance::new("many at once");
    let workers = amount("many at once", WORKERS, "workers");
    let seeds: Vec<_> = (0..workers).map(|_| chance.below(6)).collect();
    thread::scope(|scope| {
        for (worker, seed) in seeds.into_iter().enumerate() {
            let world = &world;
            scope.spawn(move || (0..ROUNDS).for_each(|round| work(world, worker, seed + round)));
        }
    });
    assert_eq!(world.home.machines(), ["box"]);
    world.report("box");
    assert_eq!(world.passing(), Vec::<PathBuf>::new());
    let left: Vec<_> = world.snapshots();
    assert!(left.len() > 1, "{left:?}");
    for snapshot in &left {
        world.done(&["verify", &name_of(snapshot)]);
    }
    let last = name_of(&left[left.len() - 1]);
    world.done(&["restore", &last, "--as", "again"]);
    assert_eq!(world.shell("again", "cat /history"), "word\n");
}

/// Whatever others do meanwhile, each has what is its own.
fn work(world: &World, worker: usize, kind: usize) {
    let tag = format!("t{worker}-{kind}");
    let clone = format!("c{worker}-{kind}");
    match kind % 3 {
        0 => {
            world.done(&["snapshot", "box", "-t", &tag]);
            if kind.is_multiple_of(2) {
                world.done(&["snapshot", "rm", &format!("box@{tag}")]);
            }
        }
        1 => {
            world.done(&["clone", "box@first", "--name", &clone]);
            world.done(&["rm", "-f", &clone]);
        }
        _ => {
            world.done(&["clone", "box", "--name", &clone]);
            world.done(&["snapshot", &clone, "-t", &tag]);
            world.done(&["rm", "-f", &clone]);
            world.done(&["snapshot", "rm", &format!("{clone}@{tag}")]);
        }
    }
}
