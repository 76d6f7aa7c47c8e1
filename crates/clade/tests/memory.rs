//! Memory that a guest does not use goes back to the host.

mod common;

use std::fs;

use common::Home;
use common::images::{alone, mini};
use common::machine::Machine;

const MIB: u64 = 1 << 20;

/// Memory of the machine's process that nobody else has, in bytes.
fn own_memory(home: &Home, name: &str) -> u64 {
    let told = home.run(&["inspect", "--json", name]);
    let json: serde_json::Value = serde_json::from_str(told.stdout()).expect("JSON");
    let machine = json.get(0).unwrap_or(&json);
    let pid = machine["pid"].as_u64().expect("a running machine");
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("its process");
    let line = rollup.lines().find(|line| line.starts_with("Pss_Anon:"));
    let kib: u64 = line
        .and_then(|line| line.split_ascii_whitespace().nth(1)?.parse().ok())
        .expect("a figure");
    kib << 10
}

#[test]
fn what_a_guest_frees_and_what_it_can_spare_goes_back_to_the_host() {
    let Some(machine) = Machine::start("memory goes back to the host", &[]) else {
        return;
    };
    let home = &machine.home;
    let shell = |script: &str| machine.run(script);
    shell("mkdir /big && mount -t tmpfs -o size=500m tmpfs /big");

    shell("dd if=/dev/urandom of=/big/file bs=1M count=300 2>/dev/null");
    let full = own_memory(home, "box");
    shell("rm /big/file");
    // Linux looks for free blocks every two seconds, and reports some at a time.
    common::wait_until("the guest reports what is free", || {
        own_memory(home, "box") + 200 * MIB < full
    });

    let free = || -> u64 {
        shell("free -m | grep Mem | tr -s ' ' | cut -d' ' -f4")
            .trim()
            .parse()
            .expect("MiB")
    };
    let before = free();
    assert!(before > 500, "{before}");
    let limited = home.run(&["update", "--memory", "600M", "box"]);
    assert_eq!((limited.code, limited.stdout()), (Some(0), "box\n"));
    common::wait_until("the guest gives memory", || free() + 350 < before);
    // It is the guest's again, and holds what is written to it.
    home.run(&["update", "--memory", "1G", "box"]);
    common::wait_until("the guest takes it back", || free() + 100 > before);
    shell(
        "dd if=/dev/urandom of=/big/a bs=1M count=400 2>/dev/null; cp /big/a /dev/null; \
         test $(wc -c </big/a) = 419430400",
    );

    let more = home.run(&["update", "--memory", "2G", "box"]);
    assert_eq!(more.code, Some(125));
    assert!(more.stderr.contains("1024 MiB"), "{}", more.stderr);
    home.run(&["kill", "box"]);
    let stopped = home.run(&["update", "--memory", "1G", "box"]);
    assert!(
        stopped.stderr.contains("clade start box"),
        "{}",
        stopped.stderr
    );
}

/// The size that a refusal of too little memory names.
fn least_memory(home: &Home, cpus: &str, image: &str) -> String {
    let options = ["--memory", "64M", "--cpus", cpus];
    let refused = home.run(&[&["run", "-d"], &options[..], &[image]].concat());
    assert_eq!(refused.code, Some(125), "{refused:?}");
    let (_, size) = refused
        .stderr
        .split_once("--memory` at least ")
        .expect("a remedy");
    size.trim().trim_end_matches('.').to_owned()
}

#[test]
fn an_image_gets_ready_in_the_memory_that_it_asks_for_at_least() {
    if mini("the least memory").is_none() {
        return;
    }
    let _alone = alone();
    let home = Home::with_cache();
    for cpus in ["1", "4"] {
        let least = least_memory(&home, cpus, "mini");
        let run = ["run", "--memory", &least, "--cpus", cpus, "mini", "--"];
        let done = home.run(&[&run[..], &["nproc"]].concat());
        assert_eq!(
            (done.code, done.stdout().trim()),
            (Some(0), cpus),
            "{done:?}"
        );
    }
    assert!(home.machines().is_empty());
}
