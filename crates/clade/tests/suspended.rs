//! Machines that are paused or suspended: what is said of them, and what can be done with them.

mod common;

use std::io::{Read, Write};
use std::process::Stdio;

use common::guest::Guest;
use common::{Finished, Home, finish, read_until, wait, wait_until};

/// A home with a machine called `one` that prints "up", and then what is typed up to a `q`.
fn home_with_one(more: &[&str]) -> Home {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().print("up\n").echo_until('q').power_off());
    let order = ["run", "--kernel", &kernel, "-d", "--name", "one"];
    let finished = home.run(&[&order[..], more].concat());
    assert_eq!(finished.code, Some(0), "{finished:?}");
    wait_until("it is up", || log(&home) == "up\n");
    home
}

fn log(home: &Home) -> String {
    home.run(&["logs", "one"]).stdout().to_owned()
}

fn state(home: &Home) -> String {
    let inspected = home.run(&["inspect", "one"]);
    let all: serde_json::Value = serde_json::from_slice(&inspected.stdout).expect("JSON");
    all[0]["state"].as_str().expect("a state").to_owned()
}

#[track_caller]
fn assert_done(home: &Home, arguments: &[&str]) {
    let finished = home.run(arguments);
    let outcome = (finished.code, finished.stdout(), &*finished.stderr);
    assert_eq!(outcome, (Some(0), "one\n", ""));
}

#[track_caller]
fn assert_refused(finished: &Finished, texts: &[&str]) {
    assert_eq!(finished.code, Some(125), "{finished:?}");
    for text in texts {
        assert!(finished.stderr.contains(text), "no {text:?}: {finished:?}");
    }
}

#[test]
fn a_suspended_machine_is_no_stopped_one() {
    let home = home_with_one(&[]);
    assert_done(&home, &["suspend", "one"]);
    assert_done(&home, &["suspend", "one"]);
    assert_eq!(state(&home), "suspended");
    // It is alive for its user, though nothing runs.
    let listed = home.run(&["ps"]);
    let (_, since) = listed
        .stdout()
        .split_once("suspended ")
        .expect("since when");
    let unit = since.trim_start_matches(|letter: char| letter.is_ascii_digit());
    assert!(unit.starts_with("s ago"), "{listed:?}");
    let listed = home.run(&["ps", "--json"]);
    assert!(listed.stdout().contains(r#""since":1"#), "{listed:?}");
    for verb in ["console", "pause"] {
        let texts = ["'one' is not running: it is suspended", "clade resume one"];
        assert_refused(&home.run(&[verb, "one"]), &texts);
    }
    assert_refused(&home.run(&["exec", "one", "ls"]), &["clade resume one"]);
    let wait = |goal| home.run(&["wait", "one", "--for", goal, "--timeout", "0.2"]);
    assert_eq!(wait("stopped").code, Some(124));
    assert_refused(&wait("ready"), &["it is suspended", "clade resume one"]);
    let run = home.run(&["run", "-d", "--name", "one", "--kernel", "x"]);
    assert_refused(&run, &["which is suspended", "clade resume one"]);
    // Nothing that would lose its memory is done by the way.
    for verb in ["stop", "restart", "rm"] {
        let texts = ["'one' is suspended", "clade resume one"];
        assert_refused(&home.run(&[verb, "one"]), &texts);
    }
    assert_eq!(home.run(&["rename", "one", "two"]).code, Some(0));
    assert_eq!(home.run(&["rename", "two", "one"]).code, Some(0));
    assert_eq!(state(&home), "suspended");

    assert_done(&home, &["start", "one"]);
    assert_eq!(
        (state(&home), log(&home)),
        ("running".into(), "up\n".into())
    );
    assert_done(&home, &["suspend", "one"]);
    assert_done(&home, &["rm", "-f", "one"]);
    assert!(home.machines().is_empty());
}

#[test]
fn what_a_suspended_machine_has_in_memory_can_be_given_up() {
    let home = home_with_one(&[]);
    for end in [&["kill", "one"][..], &["stop", "one", "--timeout", "0"]] {
        assert_done(&home, &["suspend", "one"]);
        let ended = home.run(end);
        assert_eq!(
            (ended.code, ended.stdout()),
            (Some(0), "one\n"),
            "{ended:?}"
        );
        assert_eq!(state(&home), "stopped");
        let before = log(&home);
        assert_done(&home, &["start", "one"]);
        // It boots anew.
        let after = format!("{before}up\n");
        wait_until("it is up again", || log(&home) == after);
    }
}

#[test]
fn a_suspended_machine_goes_on_with_a_console() {
    let home = home_with_one(&[]);
    assert_done(&home, &["suspend", "one"]);
    let mut attached = home
        .clade(&["start", "--attach", "one"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("clade");
    let mut input = attached.stdin.take().expect("stdin");
    let mut output = attached.stdout.take().expect("stdout");
    input.write_all(b"ab").expect("type");
    assert_eq!(read_until(&mut output, "ab"), "ab");
    input.write_all(b"q").expect("type");
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("read");
    assert_eq!(rest, "q");
    assert_eq!(wait(&mut attached).code(), Some(0));
    assert_eq!(state(&home), "stopped");
}

#[test]
fn whoever_is_attached_is_told_that_the_machine_was_suspended() {
    let home = Home::new();
    let kernel = home.guest(&Guest::new().print("up\n").echo_until('q').power_off());
    let mut attached = home
        .clade(&["run", "--kernel", &kernel, "--name", "one"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("clade");
    read_until(attached.stdout.as_mut().expect("stdout"), "up\n");
    assert_done(&home, &["suspend", "one"]);
    let left = finish(attached);
    assert_eq!(left.code, Some(0), "{left:?}");
    assert!(left.stderr.contains("clade resume one"), "{left:?}");
    assert_done(&home, &["resume", "one"]);
    assert_eq!(state(&home), "running");
}

#[test]
fn a_temporary_machine_can_be_suspended_and_is_removed_at_its_end() {
    let home = home_with_one(&["--rm"]);
    assert_done(&home, &["suspend", "one"]);
    assert_eq!(state(&home), "suspended");
    assert_done(&home, &["resume", "one"]);
    assert_eq!(state(&home), "running");
    assert_done(&home, &["kill", "one"]);
    home.wait_for_no_machines();
}

#[test]
fn whoever_is_asked_while_paused_says_so() {
    let home = home_with_one(&[]);
    assert_done(&home, &["pause", "one"]);
    assert!(home.run(&["ps"]).stdout().contains("paused"));
    let texts = ["machine 'one' is paused", "clade resume one"];
    assert_refused(&home.run(&["exec", "one", "ls"]), &texts);
    assert_refused(&home.run(&["cp", "one:/x", "."]), &texts);
    assert_refused(&home.run(&["start", "one"]), &texts);
    // Its console can be looked at.
    let mut console = home.clade(&["console", "one"]).spawn().expect("clade");
    let said = read_until(console.stderr.as_mut().expect("stderr"), "go on");
    assert!(said.contains("clade resume one"), "{said}");
    console.kill().expect("kill");
    wait(&mut console);

    assert_done(&home, &["resume", "one"]);
    assert_eq!(log(&home), "up\n");
    // Stopped, it goes on first: its guest could not hear its power button otherwise.
    assert_done(&home, &["pause", "one"]);
    let stopped = home.run(&["stop", "one", "--timeout", "1"]);
    assert!(stopped.stderr.contains("did not power off"), "{stopped:?}");
    assert_eq!(state(&home), "stopped");
}

/// As when `clade suspend` dies at the last moment.
#[test]
fn a_machine_that_runs_on_forgets_that_it_was_to_be_suspended() {
    let home = home_with_one(&[]);
    assert_done(&home, &["suspend", "one"]);
    let mark = home.path("data/clade/machines/one/suspended.json");
    let kept = std::fs::read(&mark).expect("the mark");
    assert_done(&home, &["resume", "one"]);
    assert!(!mark.exists());
    assert_done(&home, &["pause", "one"]);
    std::fs::write(&mark, kept).expect("the mark");
    assert_done(&home, &["resume", "one"]);
    assert!(!mark.exists());
    assert_done(&home, &["kill", "one"]);
    assert_eq!(state(&home), "stopped");
}
