//! Clones use what their origin has translated.

use std::fs;

use crate::common::images::{alone, is_emulated, skip};
use crate::common::{timeout, wait_until};
use crate::world::World;

/// Bytes of a process's memory that are mapped from a code cache to be executed.
fn mapped(pid: u64) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("own process");
    let caches = maps.lines().filter(|line| line.contains("code.cache"));
    let executed = caches.filter(|line| line.contains(" r-xp "));
    let size = |line: &str| {
        let range = line.split(' ').next().expect("a range");
        let (start, end) = range.split_once('-').expect("a range");
        let address = |text| u64::from_str_radix(text, 16).expect("an address");
        address(end) - address(start)
    };
    executed.map(size).sum()
}

#[test]
fn clones_share_translations() {
    let test = "clones share translations";
    if !is_emulated(test) {
        return;
    }
    let _alone = alone();
    if let Err(lacks) = clade_emulate::translator_support() {
        return skip(test, format!("the host lacks {}", lacks.join(", ")));
    }
    let Some(world) = World::new(test) else {
        return;
    };
    let of = |name: &str| mapped(world.inspect(name)["pid"].as_u64().expect("it runs"));
    world.start("box", &[]);
    assert_eq!(of("box"), 0, "it booted");
    world.done(&["snapshot", "box", "-t", "one"]);
    world.done(&["clone", "box@one", "--name", "first"]);
    let shared = of("first");
    assert!(shared > 1 << 20, "{shared} bytes");
    // One that has little new hands on what it has inherited.
    world.done(&["clone", "first", "--name", "second"]);
    assert_eq!(of("second"), shared);
    world.done(&["suspend", "second"]);
    world.done(&["resume", "second"]);
    assert!(of("second") >= shared);
    for name in ["first", "second"] {
        world.report(name);
    }
}

/// A guest that is reset has other code in the same places, and none of what it inherited.
#[test]
fn a_clone_can_be_reset() {
    let _alone = alone();
    let Some(world) = World::new("a clone can be reset") else {
        return;
    };
    world.done(&["run", "-d", "-m", "256M", "--name", "box", "mini"]);
    world.done(&["wait", "box", "--for", "ready", "--timeout", &timeout(55)]);
    let boot = |name: &str| {
        let id = "/proc/sys/kernel/random/boot_id";
        world.home.run(&["exec", name, "--", "cat", id])
    };
    // Linux draws it when it is first asked for.
    let before = boot("box").stdout;
    world.done(&["clone", "box", "--name", "copy"]);
    assert_eq!(boot("copy").stdout, before);
    world.shell(
        "copy",
        "(sleep 0.1; echo b >/proc/sysrq-trigger) >/dev/null 2>&1 &",
    );
    wait_until("it is up again", || {
        let now = boot("copy");
        now.code == Some(0) && now.stdout != before
    });
    assert_eq!(world.shell("copy", "echo $((6 * 7))"), "42\n");
}
