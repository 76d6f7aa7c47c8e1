//! Guests that are told who they are while somebody does something else with their machines.

use crate::common::images::alone;
use crate::world::World;

#[test]
fn a_guest_that_stands_still_keeps_nobody_waiting() {
    let _alone = alone();
    let Some(world) = World::new("a guest that stands still keeps nobody waiting") else {
        return;
    };
    world.start("first", &[]);
    world.done(&["clone", "first", "--name", "second"]);
    // As a rule it has not been told its name yet, and is just being told.
    world.done(&["pause", "second"]);
    world.done(&["clone", "second", "--name", "third"]);
    world.done(&["snapshot", "second", "-t", "still"]);
    world.done(&["restore", "second@still", "--as", "fourth"]);
    world.done(&["resume", "second"]);
    for name in ["second", "third", "fourth"] {
        let told = world.shell(name, "cat /proc/sys/kernel/hostname");
        assert_eq!(told.trim(), name);
        world.report(name);
    }
}
