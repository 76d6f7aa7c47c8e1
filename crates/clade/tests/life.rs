//! The life of machines: made, started, stopped, started again, removed.

mod common;

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::guest::Guest;
use common::{Finished, Home, finish, read_until, wait_until};

/// A home with a machine called `one` that prints "up" and runs on.
fn home_with_one() -> Home {
    let home = Home::new();
    run(&home, "one");
    home
}

fn run(home: &Home, name: &str) {
    let kernel = home.guest(&Guest::new().print("up\n").echo_until('q').power_off());
    let finished = home.run(&["run", "--kernel", &kernel, "-d", "--name", name]);
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

fn json(finished: &Finished) -> serde_json::Value {
    serde_json::from_slice(&finished.stdout).expect("JSON")
}

fn inspect(home: &Home, name: &str) -> serde_json::Value {
    json(&home.run(&["inspect", name]))[0].clone()
}

fn names(home: &Home, arguments: &[&str]) -> Vec<String> {
    let all = json(&home.run(arguments));
    let rows = all.as_array().expect("an array").iter();
    rows.map(|row| row["name"].as_str().expect("a name").to_owned())
        .collect()
}

#[track_caller]
fn assert_says(finished: &Finished, code: i32, texts: &[&str]) {
    assert_eq!(finished.code, Some(code), "{finished:?}");
    for text in texts {
        assert!(finished.stderr.contains(text), "no {text:?}: {finished:?}");
    }
}

#[test]
fn a_machine_starts_again_with_what_it_had() {
    let home = home_with_one();
    let id = inspect(&home, "one")["id"].clone();
    assert_eq!(home.run(&["kill", "one"]).code, Some(0));
    assert_eq!(names(&home, &["ps", "--json"]), [""; 0]);
    assert_eq!(names(&home, &["ps", "-a", "--json"]), ["one"]);
    // One that does not run is stopped already.
    assert_eq!(home.run(&["stop", "one"]).stdout(), "one\n");
    assert_says(
        &home.run(&["console", "one"]),
        125,
        &["has stopped", "clade start one"],
    );

    assert_eq!(home.run(&["start", "one"]).stdout(), "one\n");
    assert_eq!(inspect(&home, "one")["id"], id);
    assert_says(&home.run(&["start", "one"]), 125, &["is running already"]);
    wait_until("it is up again", || {
        home.run(&["logs", "one"]).stdout() == "up\nup\n"
    });

    // Attached, it ends with its session, but stays.
    home.run(&["kill", "one"]);
    let attached = home
        .clade(&["start", "-a", "one"])
        .stdin(Stdio::piped())
        .spawn();
    let mut attached = attached.expect("clade");
    read_until(attached.stdout.as_mut().expect("stdout"), "up\n");
    attached.kill().expect("kill");
    attached.wait().expect("wait");
    let stopped = home.run(&["wait", "one", "--timeout", "30"]);
    assert_eq!(stopped.code, Some(0), "{stopped:?}");
    assert_eq!(home.run(&["restart", "one", "-t", "0"]).stdout(), "one\n");
    assert_eq!(inspect(&home, "one")["state"], "running");
}

#[test]
fn a_guest_without_a_power_button_is_ended_when_time_is_up() {
    let home = home_with_one();
    let start = Instant::now();
    let stopped = home.run(&["stop", "one", "--timeout", "1"]);
    assert_says(&stopped, 0, &["did not power off"]);
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(inspect(&home, "one")["outcome"], "stopped");
}

#[test]
fn waiting_ends_when_it_has_come_to_that_or_time_is_up() {
    let home = home_with_one();
    let wait = |what, seconds| home.run(&["wait", "one", "--for", what, "--timeout", seconds]);
    assert_says(&wait("running", "30"), 0, &[]);
    assert_says(&wait("stopped", "0.3"), 124, &["'one' is not stopped yet"]);
    assert_says(&wait("ready", "0.3"), 124, &["not ready"]);
    let waiting = home.clade(&["wait", "one"]).spawn().expect("clade");
    let unready = home
        .clade(&["wait", "one", "--for", "ready"])
        .spawn()
        .expect("clade");
    home.run(&["kill", "one"]);
    assert_says(&finish(waiting), 0, &[]);
    assert_says(&finish(unready), 125, &["has stopped", "clade logs one"]);
    assert_says(&wait("running", "0.3"), 124, &[]);
    let removed = home
        .clade(&["wait", "one", "--for", "running"])
        .spawn()
        .expect("clade");
    home.run(&["rm", "one"]);
    assert_says(&finish(removed), 125, &["one"]);
}

#[test]
fn only_force_removes_what_runs() {
    let home = home_with_one();
    run(&home, "two");
    assert_says(
        &home.run(&["rm", "one"]),
        125,
        &["is running", "clade stop one", "rm -f one"],
    );
    // All are looked for before anything is done.
    let missing = home.run(&["rm", "two", "three"]);
    assert_says(&missing, 125, &["no machine is called 'three'", "one, two"]);
    assert_eq!(
        home.run(&["rm", "-f", "one", "three", "two", "tw"]).code,
        Some(0)
    );
    assert!(home.machines().is_empty());
    assert_eq!(
        fs::read_dir(home.path("run/clade/run"))
            .expect("sockets")
            .count(),
        0
    );
}

#[test]
fn a_name_in_use_is_refused_with_what_to_do() {
    let home = home_with_one();
    let again = || {
        let kernel = home.path("guest.elf").display().to_string();
        home.run(&["run", "--kernel", &kernel, "--name", "one"])
    };
    assert_says(
        &again(),
        125,
        &["is running", "clade console one", "rm -f one"],
    );
    home.run(&["kill", "one"]);
    assert_says(
        &again(),
        125,
        &["has stopped", "clade start one", "clade rm one"],
    );
    run(&home, "two");
    assert_says(
        &home.run(&["rename", "one", "two"]),
        125,
        &["two", "is running"],
    );
    assert_says(
        &home.run(&["rename", "two", "three"]),
        125,
        &["clade stop two"],
    );
    assert_eq!(home.run(&["rename", "one", "three"]).code, Some(0));
    assert_eq!(home.run(&["start", "three"]).stdout(), "three\n");
    assert_eq!(names(&home, &["ps", "--json"]), ["three", "two"]);
    assert_eq!(home.run(&["ps", "-q"]).stdout(), "three\ntwo\n");
}

#[test]
fn a_kernel_that_is_gone_is_told_and_the_machine_stays() {
    let home = home_with_one();
    home.run(&["kill", "one"]);
    let kernel = home.path("guest.elf");
    fs::rename(&kernel, home.path("elsewhere")).expect("rename");
    assert_says(&home.run(&["start", "one"]), 125, &["guest.elf"]);
    assert_eq!(inspect(&home, "one")["state"], "stopped");
    fs::rename(home.path("elsewhere"), &kernel).expect("rename");
    assert_eq!(home.run(&["start", "one"]).code, Some(0));
}

#[test]
fn what_is_to_be_removed_goes_with_its_life() {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().print("up\n").spin());
    let kernel = kernel.as_str();
    home.run(&["run", "--kernel", kernel, "-d", "--rm", "--name", "one"]);
    assert_eq!(names(&home, &["ps", "--json"]), ["one"]);
    assert_says(&home.run(&["restart", "one"]), 125, &["--rm"]);
    assert_eq!(home.run(&["stop", "one", "-t", "0"]).stdout(), "one\n");
    assert!(home.machines().is_empty());
    let kernel = home.guest(&Guest::new().fail(3));
    let named = home.run(&["run", "--kernel", &kernel, "--name", "two"]);
    assert_eq!(named.code, Some(3));
    assert_eq!(inspect(&home, "two")["outcome"]["failed"], 3);
    let table = home.run(&["ps", "-a"]);
    assert!(table.stdout().contains("failed (3)"), "{table:?}");
    let named = home.run(&["run", "--kernel", &kernel, "--name", "three", "--rm"]);
    assert_eq!(named.code, Some(3));
    assert_eq!(home.machines(), ["two"]);
}

#[test]
fn logs_are_followed_to_the_end_of_the_machine() {
    let home = home_with_one();
    let mut follow = home.clade(&["logs", "-f", "one"]).spawn().expect("clade");
    read_until(follow.stdout.as_mut().expect("stdout"), "up\n");
    let mut console = home.clade(&["console", "one"]);
    let mut console = console.stdin(Stdio::piped()).spawn().expect("clade");
    let typed = console.stdin.as_mut().expect("stdin");
    std::io::Write::write_all(typed, b"a\nbc\nq").expect("type");
    assert_eq!(finish(console).code, Some(0));
    let followed = finish(follow);
    assert_eq!((followed.code, followed.stdout()), (Some(0), "a\nbc\nq"));
    let tail = |lines| home.run(&["logs", "one", "--tail", lines]);
    assert_eq!(tail("2").stdout(), "bc\nq");
    assert_eq!(tail("0").stdout(), "");
    assert_eq!(tail("99").stdout(), "up\na\nbc\nq");
}

#[test]
fn twenty_at_once() {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().print("up\n").echo_until('q').power_off());
    let names: Vec<String> = (10..30).map(|number| format!("machine-{number}")).collect();
    let spawn = |arguments: &[&str]| home.clade(arguments).spawn().expect("clade");
    let started: Vec<_> = names
        .iter()
        .map(|name| {
            spawn(&[
                "run", "--kernel", &kernel, "-d", "--name", name, "-m", "64M",
            ])
        })
        .collect();
    for one in started {
        let one = finish(one);
        assert_eq!(one.code, Some(0), "{one:?}");
    }
    assert_eq!(self::names(&home, &["ps", "--json"]), names);
    // All want the same name: one gets it.
    let same: Vec<_> = (0..4)
        .map(|_| {
            spawn(&[
                "run", "--kernel", &kernel, "-d", "--name", "same", "-m", "64M",
            ])
        })
        .collect();
    let same: Vec<_> = same.into_iter().map(|one| finish(one).code).collect();
    assert_eq!(
        same.iter().filter(|code| **code == Some(0)).count(),
        1,
        "{same:?}"
    );
    let removed: Vec<_> = names
        .iter()
        .map(|name| spawn(&["rm", "-f", name]))
        .collect();
    for one in removed {
        let one = finish(one);
        assert_eq!(one.code, Some(0), "{one:?}");
    }
    assert_eq!(home.machines(), ["same"]);
    assert_eq!(
        fs::read_dir(home.path("run/clade/run"))
            .expect("sockets")
            .count(),
        1
    );
}

#[test]
fn inspect_tells_everything() {
    let home = home_with_one();
    let one = inspect(&home, "one");
    assert_eq!(one["name"], "one");
    assert_eq!(one["config"]["cpus"], 1);
    assert_eq!(one["state"], "running");
    assert_eq!(one["status"]["foreground"], false);
    assert_eq!(one["life"]["pid"], one["pid"]);
    let socket = one["control_socket"].as_str().expect("a path");
    assert!(fs::metadata(socket).is_ok(), "{socket}");
    let log = one["console_log"].as_str().expect("a path");
    assert!(fs::metadata(log).is_ok(), "{log}");
}

#[test]
fn long_names_and_long_folders() {
    let home = Home::new();
    let name = "x".repeat(63);
    run(&home, &name);
    assert_eq!(home.run(&["kill", &name[..9]]).code, Some(0));
    let long = home.path(&"y".repeat(80));
    fs::create_dir(&long).expect("folder");
    let started = home
        .clade(&["start", &name])
        .env("XDG_RUNTIME_DIR", &long)
        .output();
    let started = started.expect("clade");
    let said = String::from_utf8_lossy(&started.stderr);
    assert_eq!(started.status.code(), Some(125), "{said}");
    assert!(
        said.contains("too long a path") && said.contains("XDG_RUNTIME_DIR"),
        "{said}"
    );
}

/// Another session of the same user may have another runtime folder, or none.
#[test]
fn a_machine_is_found_from_another_runtime_folder() {
    let home = home_with_one();
    let other = home.path("other");
    fs::create_dir(&other).expect("folder");
    let elsewhere = |arguments: &[&str]| {
        let mut command = home.clade(arguments);
        finish(
            command
                .env("XDG_RUNTIME_DIR", &other)
                .spawn()
                .expect("clade"),
        )
    };
    assert_eq!(json(&elsewhere(&["ps", "--json"]))[0]["answers"], true);
    assert_says(&elsewhere(&["start", "one"]), 125, &["is running already"]);
    assert_eq!(elsewhere(&["kill", "one"]).stdout(), "one\n");
}

#[test]
fn what_other_versions_left_does_not_break_the_list() {
    let home = home_with_one();
    // As it was when machines lived in the runtime folder.
    let old = home.path("run/clade/machines/old");
    fs::create_dir_all(&old).expect("folder");
    fs::write(old.join("spec.json"), "{}").expect("file");
    fs::write(old.join("lock"), "1").expect("file");
    let odd = home.path("data/clade/machines/odd");
    fs::create_dir_all(&odd).expect("folder");
    fs::write(odd.join("spec.json"), r#"{"id": "of a later version"}"#).expect("file");
    let listed = home.run(&["ps", "-a"]);
    assert_says(&listed, 0, &["'odd' cannot be read", "clade rm odd"]);
    assert!(listed.stdout().contains("one"), "{listed:?}");
    assert_eq!(home.run(&["ps"]).stderr, "");
    assert_says(&home.run(&["start", "odd"]), 125, &["cannot be read"]);
    assert_eq!(home.run(&["rm", "odd"]).code, Some(0));
    assert_eq!(home.run(&["ps", "-a"]).stderr, "");
}

#[test]
fn completions_are_understood_by_their_shells() {
    let home = Home::new();
    for (shell, check) in [
        ("bash", &["-n"][..]),
        ("zsh", &["-n"]),
        ("fish", &["--no-execute"]),
    ] {
        let script = home.run(&["completions", shell]);
        assert_eq!(script.code, Some(0), "{script:?}");
        assert!(script.stdout().contains("restart"), "{shell}");
        let file = home.file(&format!("clade.{shell}"), &script.stdout);
        match Command::new(shell).args(check).arg(&file).output() {
            Ok(checked) => {
                let said = String::from_utf8_lossy(&checked.stderr);
                assert!(checked.status.success(), "{shell}: {said}");
            }
            Err(error) => eprintln!("SKIPPED for {shell}: {error}"),
        }
    }
    assert_says(&home.run(&["completions", "cmd"]), 125, &["bash"]);
}

#[test]
fn every_verb_has_a_manual_page() {
    let home = Home::new();
    let folder = home.path("man/man1");
    let written = home.run(&["man", "--output", folder.to_str().expect("plain path")]);
    assert_eq!(written.code, Some(0), "{written:?}");
    for page in ["clade.1", "clade-run.1", "clade-stop.1", "clade-wait.1"] {
        let text = fs::read_to_string(folder.join(page)).expect(page);
        assert!(text.contains(".TH"), "{page}");
    }
    assert!(!folder.join("clade-machine-process.1").exists());
}
