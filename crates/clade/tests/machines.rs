//! Machines from start to end, with bare-metal guests.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::process::Stdio;

use common::guest::Guest;
use common::images::is_emulated;
use common::{Home, finish, is_alive, read_until, wait, wait_until};
use rustix::process::{Pid, Signal, kill_process};

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .expect("pid");
    kill_process(pid, signal).expect("kill");
}

fn ps(home: &Home) -> serde_json::Value {
    serde_json::from_slice(&home.run(&["ps", "-a", "--json"]).stdout).expect("JSON")
}

fn pid_of(home: &Home) -> u32 {
    u32::try_from(ps(home)[0]["pid"].as_u64().expect("a machine with a pid")).expect("pid")
}

#[test]
fn a_guest_prints_and_powers_off() {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().print("hello\n").power_off());
    let finished = home.run(&["run", "--kernel", &kernel]);
    assert_eq!(
        (finished.code, finished.stdout()),
        (Some(0), "hello\n"),
        "{finished:?}"
    );
    assert_eq!(finished.stderr, "");
    assert!(home.machines().is_empty());
}

#[test]
fn a_guests_failure_is_the_exit_status() {
    let home = Home::new();
    for (code, status) in [(42, 42), (300, 255)] {
        let kernel = home.guest(&Guest::new().fail(code));
        let finished = home.run(&["run", "--kernel", &kernel]);
        assert_eq!(finished.code, Some(status), "{finished:?}");
        assert!(finished.stderr.contains(&code.to_string()), "{finished:?}");
    }
}

#[test]
fn a_panic_and_a_reset_loop_are_told_apart() {
    let home = Home::new();
    let line = "Kernel panic - not syncing: No working init found.";
    let kernel = home.guest(&Guest::new().print(&format!("[    0.5] {line}\n")).reset());
    let finished = home.run(&["run", "--kernel", &kernel]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(
        finished
            .stderr
            .contains(&format!("kernel panicked: {line}")),
        "{finished:?}"
    );

    let kernel = home.guest(&Guest::new().print("again\n").reset());
    let finished = home.run(&["run", "--kernel", &kernel]);
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("reset loop"), "{finished:?}");
    assert_eq!(finished.stdout(), "again\n".repeat(5));
}

#[test]
fn input_reaches_the_guest_as_it_is_and_a_reset_keeps_the_console() {
    let home = Home::new();
    let kernel = home.guest(
        &Guest::new()
            .print("<")
            .echo_until_or_reset('q', 'r')
            .power_off(),
    );
    let mut child = home
        .clade(&["run", "--kernel", &kernel])
        .stdin(Stdio::piped())
        .spawn()
        .expect("clade");
    let mut stdin = child.stdin.take().expect("stdin");
    let mut stdout = child.stdout.take().expect("stdout");
    assert_eq!(read_until(&mut stdout, "<"), "<");
    // What the machine starts from is not looked for again.
    fs::remove_file(&kernel).expect("remove");
    stdin.write_all(b"a\x03\x1d\x04r").expect("type");
    assert_eq!(
        read_until(&mut stdout, "a\x03\x1d\x04r<"),
        "a\x03\x1d\x04r<"
    );
    stdin.write_all(b"bq").expect("type");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("read");
    assert_eq!(rest, "bq");
    assert_eq!(wait(&mut child).code(), Some(0));
}

/// The machine is built a second time by a process that may make no memory to execute any more.
#[test]
fn a_reset_machine_has_the_tier_that_was_asked_for() {
    if !is_emulated("a_reset_machine_has_the_tier_that_was_asked_for") {
        return;
    }
    if let Err(lacks) = clade_emulate::translator_support() {
        return eprintln!("SKIPPED: this host lacks {}", lacks.join(", "));
    }
    let home = Home::new();
    let kernel = home.guest(&Guest::new().print("again\n").reset());
    for tier in ["interpreter", "translator"] {
        let finished = home.run(&["run", "--kernel", &kernel, "--tier", tier]);
        assert!(finished.stderr.contains("reset loop"), "{finished:?}");
        assert_eq!(finished.stdout(), "again\n".repeat(5), "{tier}");
    }
}

#[test]
fn stats_tell_what_each_tier_did_over_all_boots() {
    if !is_emulated("stats_tell_what_each_tier_did_over_all_boots") {
        return;
    }
    let home = Home::new();
    let kernel = home.guest(&Guest::new().print_often("tick\n", 20).power_off());
    let run = |tier| {
        let finished = home.run(&["run", "--kernel", &kernel, "--stats=json", "--tier", tier]);
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let stats: serde_json::Value = serde_json::from_str(&finished.stderr).expect("JSON");
        stats["engine"].clone()
    };
    // 20000 lines, for each of whose five bytes two instructions or more.
    let interpreted = run("interpreter");
    assert!(
        interpreted["instructions"].as_u64() > Some(200_000),
        "{interpreted}"
    );
    assert_eq!(interpreted["interpreted"], interpreted["instructions"]);
    assert_eq!(interpreted["entries"], 0);
    if let Err(lacks) = clade_emulate::translator_support() {
        return eprintln!("SKIPPED: this host lacks {}", lacks.join(", "));
    }
    let translated = run("translator");
    // But for what a hart executes between the store that ends the machine and its end.
    let counts = [&translated, &interpreted].map(|stats| stats["instructions"].as_u64());
    let apart = counts[0].unwrap_or(0).abs_diff(counts[1].unwrap_or(0));
    assert!(apart < 1000, "{counts:?}");
    assert!(
        translated["interpreted"].as_u64() < Some(10_000),
        "{translated}"
    );
    assert!(
        translated["translations"].as_u64() > Some(0),
        "{translated}"
    );
    let table = home.run(&["run", "--kernel", &kernel, "--stats"]);
    assert!(table.stderr.contains("instructions retired"), "{table:?}");
}

/// The file was opened before the machine's process was confined; what is translated is named
/// afterwards.
#[test]
fn translated_code_is_named_for_perf() {
    if !is_emulated("translated_code_is_named_for_perf") {
        return;
    }
    if let Err(lacks) = clade_emulate::translator_support() {
        return eprintln!("SKIPPED: this host lacks {}", lacks.join(", "));
    }
    let home = Home::new();
    let kernel = home.guest(&Guest::new().print_often("tick\n", 1).spin());
    let mut run = home.clade(&["run", "--kernel", &kernel, "-d", "--name", "one"]);
    assert!(
        run.env("CLADE_PERF_MAP", "1")
            .status()
            .expect("run")
            .success()
    );
    let map = format!("/tmp/perf-{}.map", pid_of(&home));
    wait_until("its loop is named", || {
        let names = fs::read_to_string(&map).unwrap_or_default();
        names.lines().any(|line| line.contains(" guest 0x802"))
    });
    home.run(&["kill", "one"]);
    fs::remove_file(map).expect("remove the map");
}

#[test]
fn a_detached_machine_runs_on() {
    let home = Home::new();
    let kernel = home.guest(
        &Guest::new()
            .print("ready ")
            .echo_until('q')
            .print("!")
            .power_off(),
    );
    let detached = home.run(&["run", "--kernel", &kernel, "-d", "--name", "web-1"]);
    assert_eq!(
        (detached.code, detached.stdout()),
        (Some(0), "web-1\n"),
        "{detached:?}"
    );

    let taken = home.run(&["run", "--kernel", &kernel, "-d", "--name", "web-1"]);
    assert_eq!(taken.code, Some(125));
    assert!(taken.stderr.contains("clade console web-1"), "{taken:?}");

    let machine = ps(&home)[0].clone();
    assert_eq!(
        (&machine["name"], &machine["state"]),
        (&"web-1".into(), &"running".into())
    );
    let id = machine["id"].as_str().expect("id");
    wait_until("the guest is ready", || {
        home.run(&["logs", id]).stdout() == "ready "
    });

    let mut console = home
        .clade(&["console", "we"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("console");
    let mut stdout = console.stdout.take().expect("stdout");
    assert_eq!(read_until(&mut stdout, "ready "), "ready ");
    console
        .stdin
        .take()
        .expect("stdin")
        .write_all(b"xyq")
        .expect("type");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("read");
    assert_eq!(rest, "xyq!");
    assert_eq!(wait(&mut console).code(), Some(0));
    let machine = ps(&home)[0].clone();
    assert_eq!(
        (&machine["state"], &machine["outcome"]),
        (&"stopped".into(), &"power_off".into())
    );
    assert_eq!(home.run(&["logs", "web-1"]).stdout(), "ready xyq!");
}

#[test]
fn a_console_that_is_killed_does_not_end_a_detached_machine() {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().print("up").spin());
    home.run(&["run", "--kernel", &kernel, "-d", "--name", "one"]);
    let mut console = home
        .clade(&["console", "one"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("console");
    read_until(console.stdout.as_mut().expect("stdout"), "up");
    console.kill().expect("kill");
    wait(&mut console);
    assert_eq!(ps(&home)[0]["name"], "one");
    let killed = home.run(&["kill", "one"]);
    assert_eq!((killed.code, killed.stdout()), (Some(0), "one\n"));
    assert_eq!(ps(&home)[0]["outcome"], "stopped");
}

#[test]
fn a_machine_goes_with_its_foreground_client() {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().print("up").spin());
    for (sent, code) in [
        (Signal::KILL, None),
        (Signal::TERM, Some(143)),
        (Signal::INT, Some(130)),
        (Signal::HUP, Some(129)),
    ] {
        let mut child = home
            .clade(&["run", "--kernel", &kernel])
            .stdin(Stdio::piped())
            .spawn()
            .expect("clade");
        read_until(child.stdout.as_mut().expect("stdout"), "up");
        assert_eq!(ps(&home)[0]["foreground"], true);
        let pid = pid_of(&home);
        signal(child.id(), sent);
        assert_eq!(wait(&mut child).code(), code, "{sent:?}");
        wait_until("the machine's process is gone", || !is_alive(pid));
        assert!(home.machines().is_empty(), "{sent:?}");
    }
}

#[test]
fn stop_ends_a_foreground_machine_and_says_so() {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().print("up").spin());
    let mut child = home
        .clade(&["run", "--kernel", &kernel, "--name", "one"])
        .spawn()
        .expect("clade");
    read_until(child.stdout.as_mut().expect("stdout"), "up");
    let stop = home.run(&["stop", "one", "--timeout", "1"]);
    assert_eq!((stop.code, stop.stdout()), (Some(0), "one\n"));
    assert!(stop.stderr.contains("did not power off"), "{stop:?}");
    let finished = finish(child);
    assert_eq!(finished.code, Some(143), "{finished:?}");
    assert!(finished.stderr.contains("stopped"), "{finished:?}");
}

#[test]
fn a_machine_that_crashes_is_noticed_and_can_be_started_again() {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().print("up").spin());
    let mut child = home
        .clade(&["run", "--kernel", &kernel, "--name", "one"])
        .spawn()
        .expect("clade");
    read_until(child.stdout.as_mut().expect("stdout"), "up");
    signal(pid_of(&home), Signal::KILL);
    let finished = finish(child);
    assert_eq!(finished.code, Some(125), "{finished:?}");
    assert!(
        finished.stderr.contains("died unexpectedly (signal: 9"),
        "{finished:?}"
    );
    assert_eq!(home.run(&["ps", "--json"]).stdout(), "[]\n");
    assert_eq!(ps(&home)[0]["state"], "lost");
    let table = home.run(&["ps", "-a"]);
    assert!(table.stdout().contains("lost (killed)"), "{table:?}");
    assert!(table.stderr.contains("clade start one"), "{table:?}");
    assert_eq!(home.run(&["start", "one"]).stdout(), "one\n");
    assert_eq!(ps(&home)[0]["state"], "running");
}

#[test]
fn a_temporary_machine_that_crashes_is_cleared_away() {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().print("up").spin());
    let mut child = home
        .clade(&["run", "--kernel", &kernel])
        .spawn()
        .expect("clade");
    read_until(child.stdout.as_mut().expect("stdout"), "up");
    signal(pid_of(&home), Signal::KILL);
    assert_eq!(finish(child).code, Some(125));
    assert_eq!(ps(&home), serde_json::json!([]));
    assert!(home.machines().is_empty());
    assert_eq!(
        fs::read_dir(home.path("run/clade/run"))
            .expect("sockets")
            .count(),
        0
    );
}

#[test]
fn several_harts_are_taken() {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().print("one hart begins\n").power_off());
    let finished = home.run(&["run", "--kernel", &kernel, "--cpus", "4"]);
    assert_eq!(
        (finished.code, finished.stdout()),
        (Some(0), "one hart begins\n"),
        "{finished:?}"
    );
}

#[test]
fn the_machines_process_has_dropped_what_it_does_not_need() {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().print("up").spin());
    home.run(&["run", "--kernel", &kernel, "-d", "--name", "one"]);
    wait_until("it is up", || home.run(&["logs", "one"]).stdout() == "up");
    let tasks = fs::read_dir(format!("/proc/{}/task", pid_of(&home))).expect("threads");
    let mut threads = 0;
    for task in tasks {
        let status = fs::read_to_string(task.expect("thread").path().join("status"));
        let status = status.expect("status");
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        assert!(status.contains("Seccomp:\t2"), "{status}");
        threads += 1;
    }
    assert!(threads > 3);
}

#[test]
fn a_machine_that_does_not_answer_is_listed_and_can_be_ended() {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().print("up").spin());
    home.run(&["run", "--kernel", &kernel, "-d", "--name", "one"]);
    let pid = pid_of(&home);
    signal(pid, Signal::STOP);
    let machine = ps(&home)[0].clone();
    assert_eq!(
        (&machine["state"], &machine["answers"], &machine["pid"]),
        (&"running".into(), &false.into(), &pid.into())
    );
    assert!(home.run(&["ps"]).stdout().contains("no answer"));
    let killed = home.run(&["kill", "one"]);
    assert_eq!(
        (killed.code, killed.stdout()),
        (Some(0), "one\n"),
        "{killed:?}"
    );
    assert!(!is_alive(pid));
    assert_eq!(ps(&home)[0]["state"], "lost");
}
