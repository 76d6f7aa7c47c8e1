//! Templates: machines that are frozen, with a name, and from which others are made.
//!
//! Needs the image `mini`: without it these tests cannot run; they say so, and pass.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use common::machine::{Machine, NAME};
use common::{Finished, Home, finish, timeout};

impl Machine {
    /// Runs `clade`, which must refuse, and returns what it says.
    fn refused(&self, arguments: &[&str]) -> String {
        refused(&self.home, arguments)
    }
}

fn refused(home: &Home, arguments: &[&str]) -> String {
    let done = home.run(arguments);
    assert_eq!(done.code, Some(125), "{arguments:?}: {done:?}");
    done.stderr
}

fn done(home: &Home, arguments: &[&str]) -> Finished {
    let done = home.run(arguments);
    assert_eq!(done.code, Some(0), "{arguments:?}: {done:?}");
    done
}

#[test]
fn machines_are_made_of_a_template_with_what_was_in_memory() {
    const TEST: &str = "machines_are_made_of_a_template_with_what_was_in_memory";
    let Some(machine) = Machine::start(TEST, &["-m", "256M"]) else {
        return;
    };
    machine.run("echo before >/tmp/state; sleep 1000 & echo $! >/tmp/pid");
    let keys = machine.run("cat /root/.ssh/authorized_keys");
    let warm = "echo warm >>/tmp/state; echo talk";
    let made = machine.done(&["template", "create", "t1", "--from", NAME, "--warm", warm]);
    assert_eq!(made.stdout(), "t1\n");
    assert!(made.stderr.contains("talk"), "{made:?}");
    // The machine is as it was, and the template as it was then.
    assert_eq!(machine.run("cat /root/.ssh/authorized_keys"), keys);
    machine.run("echo later >>/tmp/state");

    let look =
        "cat /tmp/state; kill -0 $(cat /tmp/pid) && hostname; cat /root/.ssh/authorized_keys";
    let one = machine.done(&["run", "--name", "one", "t1", "--", "sh", "-c", look]);
    assert_eq!(one.stdout(), format!("before\nwarm\none\n{keys}"));
    // Its machine has stopped, and boots when it starts again.
    machine.done(&["start", "one"]);
    machine.done(&["wait", "one", "--for", "ready", "--timeout", &timeout(50)]);
    machine.done(&["exec", "one", "--", "test", "!", "-e", "/tmp/state"]);

    // A script on standard input; nothing is left of the machine.
    let mut script = machine.home.clade(&["run", "t1"]);
    let mut script = script.stdin(Stdio::piped()).spawn().expect("clade");
    let mut input = script.stdin.take().expect("input");
    input
        .write_all(b"cat /tmp/state\nexit 3\n")
        .expect("script");
    drop(input);
    let script = finish(script);
    assert_eq!(
        (script.code, script.stdout()),
        (Some(3), "before\nwarm\n"),
        "{script:?}"
    );

    let clones = machine.done(&["clone", "t1", "-n", "2", "--name-prefix", "c"]);
    assert_eq!(clones.stdout(), "c-1\nc-2\n");
    let ids = ["c-1", "c-2"].map(|name| {
        let id = machine.done(&["exec", name, "--", "cat", "/proc/sys/kernel/random/uuid"]);
        id.stdout().to_owned()
    });
    assert_ne!(ids[0], ids[1]);
    let address = |name: &str| {
        let card = "cat /sys/class/net/eth0/address";
        let said = machine.done(&["exec", name, "--", "sh", "-c", card]);
        let told = machine.done(&["inspect", name]);
        let told: serde_json::Value = serde_json::from_str(told.stdout()).expect("JSON");
        assert_eq!(told[0]["mac"], said.stdout().trim_end(), "{name}");
        said.stdout().to_owned()
    };
    let addresses = [NAME, "c-1", "c-2"].map(address);
    assert_eq!(BTreeSet::from(addresses.clone()).len(), 3, "{addresses:?}");
    machine.done(&["clone", "t1", "--name", "kept", "--keep-identity"]);
    let called = machine.done(&["exec", "kept", "--", "hostname"]);
    assert_eq!(called.stdout(), machine.run("hostname"));
    assert_eq!(address("kept"), addresses[0]);
    // It is the card's for good.
    machine.done(&["suspend", "c-1"]);
    machine.done(&["resume", "c-1"]);
    assert_eq!(address("c-1"), addresses[1]);
    machine.done(&["rm", "-f", "kept"]);
    assert_eq!(machine.done(&["verify"]).stdout(), "t1 is whole\n");
    let mut names = machine.home.machines();
    names.sort();
    assert_eq!(names, [NAME, "c-1", "c-2", "one"]);

    // All of them came from the template, the first by being the same as it.
    let tree = machine.done(&["tree", "--json"]);
    let tree: serde_json::Value = serde_json::from_str(tree.stdout()).expect("JSON");
    let rows = tree.as_array().expect("list");
    let find = |name| rows.iter().find(|row| row["name"] == name).expect(name);
    assert_eq!(find("t1")["kind"], "template");
    for name in [NAME, "c-1", "c-2", "one"] {
        assert_eq!(find(name)["parent"], find("t1")["id"], "{name}: {tree}");
    }

    // A template of a machine that came from a template, whose guest was told once who its user is.
    machine.done(&["template", "create", "t2", "--from", "c-1"]);
    let again = machine.done(&["run", "t2", "--", "cat", "/root/.ssh/authorized_keys"]);
    assert_eq!(again.stdout(), keys);
}

#[test]
fn ports_are_those_of_the_command_line() {
    const TEST: &str = "ports_are_those_of_the_command_line";
    let Some(machine) = Machine::start(TEST, &["-p", "0:7", "-m", "256M"]) else {
        return;
    };
    machine.run("mkdir /www && echo here >/www/index.html && httpd -h /www");
    machine.done(&["template", "create", "t", "--from", NAME]);
    let run = machine.done(&["run", "-d", "--name", "web", "-p", "0:80", "t"]);
    let lead = run
        .stderr
        .lines()
        .find(|line| line.contains("leads to tcp port 80"));
    let address = lead.and_then(|line| line.split_whitespace().next());
    let address = address.unwrap_or_else(|| panic!("{run:?}"));
    let mut stream = TcpStream::connect(address).expect("port");
    stream
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .expect("request");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("answer");
    assert!(said.ends_with("\r\nhere\n"), "{said}");
    // None leads to where the machine that was frozen had one.
    let list = machine.done(&["ps", "--json"]);
    let list: serde_json::Value = serde_json::from_str(list.stdout()).expect("JSON");
    let rows = list.as_array().expect("list");
    let web = rows.iter().find(|row| row["name"] == "web").expect("web");
    assert_eq!(web["ports"].as_array().map(Vec::len), Some(1), "{web}");
}

#[test]
fn what_a_template_cannot_be_is_refused() {
    const TEST: &str = "what_a_template_cannot_be_is_refused";
    let Some(machine) = Machine::start(TEST, &["-m", "256M"]) else {
        return;
    };
    for (name, why) in [
        ("a/b", "no name for a template"),
        ("-", "no name for a template"),
        ("x:y", "no name for a template"),
        ("mini", "is an image"),
        ("debian", "is an image"),
    ] {
        let said = machine.refused(&["template", "create", "--from", NAME, "--", name]);
        assert!(said.contains(why), "{said}");
    }
    let said = machine.refused(&["template", "create", "t", "--from", "nobody"]);
    assert!(said.contains("nobody"), "{said}");
    let failing = [
        "template", "create", "t", "--from", NAME, "--warm", "exit 7",
    ];
    assert!(machine.refused(&failing).contains("status 7"));
    machine.done(&["template", "create", "t", "--from", NAME]);
    let said = machine.refused(&["template", "create", "t", "--from", NAME]);
    assert!(said.contains("clade template rm t"), "{said}");

    let options: [(&[&str], &str); 6] = [
        (&["--memory", "512M"], "256 MiB"),
        (&["--cpus", "2"], "1 CPU"),
        (&["-v", "/tmp:/x"], "--volume"),
        (&["--cmdline", "x"], "--cmdline"),
        (&["--network", "none"], "--network"),
        (&["--tier", "interpreter"], "--tier"),
    ];
    for (option, why) in options {
        let said = machine.refused(&[&["run"], option, &["t", "--", "true"]].concat());
        assert!(said.contains(why), "{option:?}: {said}");
    }
    machine.done(&["run", "--memory", "256M", "--cpus", "1", "t", "--", "true"]);

    assert!(
        machine
            .refused(&["template", "rm", "t", "u"])
            .contains("no template 'u'")
    );
    let listed = machine.done(&["template", "ls", "--json"]);
    assert!(listed.stdout().contains("\"name\":\"t\""), "{listed:?}");
    machine.done(&["template", "rm", "t"]);
    assert_eq!(machine.done(&["template", "ls", "--json"]).stdout(), "[]\n");
    assert_eq!(
        fs::read_dir(machine.home.path("data/clade/templates"))
            .expect("folder")
            .count(),
        0
    );
}

#[test]
fn snapshots_and_stopped_machines_make_templates_too() {
    const TEST: &str = "snapshots_and_stopped_machines_make_templates_too";
    let Some(machine) = Machine::start(TEST, &["-m", "256M"]) else {
        return;
    };
    machine.run("echo kept >/tmp/state");
    machine.done(&["snapshot", NAME, "--tag", "good"]);
    let from = format!("{NAME}@good");
    let said = machine.refused(&["template", "create", "t", "--from", &from, "--warm", "true"]);
    assert!(said.contains("clade clone"), "{said}");
    machine.done(&["template", "create", "t", "--from", &from]);
    machine.done(&["rm", "-f", NAME]);
    machine.done(&["snapshot", "rm", &from[..]]);
    let state = machine.done(&["run", "--name", NAME, "t", "--", "cat", "/tmp/state"]);
    assert_eq!(state.stdout(), "kept\n");

    machine.done(&["template", "create", "cold", "--from", NAME]);
    let listed = machine.done(&["template", "ls"]);
    let cold = listed
        .stdout()
        .lines()
        .find(|line| line.starts_with("cold"));
    assert!(
        cold.is_some_and(|line| line.contains("boots")),
        "{listed:?}"
    );
    let state = machine.done(&["run", "cold", "--", "sh", "-c", "ls /tmp; uname"]);
    assert_eq!(state.stdout(), "Linux\n");
}

#[test]
fn another_user_runs_what_was_exported() {
    const TEST: &str = "another_user_runs_what_was_exported";
    let Some(machine) = Machine::start(TEST, &["-m", "256M"]) else {
        return;
    };
    machine.run("echo here >/tmp/state");
    machine.done(&["template", "create", "t", "--from", NAME]);
    let file = machine.home.path("t.clade");
    let file = file.to_str().expect("plain path");
    machine.done(&["template", "export", "t", file]);
    let piped = machine.done(&["template", "export", "t", "-"]);
    assert!(!fs::read(file).expect("file").is_empty());
    assert_eq!(piped.stdout, fs::read(file).expect("file"));
    let said = machine.refused(&["template", "import", file]);
    assert!(said.contains("there is a template 't' already"), "{said}");
    machine.done(&["rm", "-f", NAME]);

    // Who has no image, and another key.
    let other = Home::new();
    done(&other, &["template", "import", file, "theirs"]);
    let look = "cat /tmp/state; hostname; cat /root/.ssh/authorized_keys";
    let run = done(
        &other,
        &["run", "--name", "mine", "theirs", "--", "sh", "-c", look],
    );
    let key = fs::read_to_string(machine.home.path("data/clade/ssh/id_ed25519")).expect("key");
    let mine = fs::read_to_string(other.path("data/clade/ssh/id_ed25519")).expect("key");
    assert_ne!(key, mine);
    let lines: Vec<_> = run.stdout().lines().collect();
    assert_eq!(lines[..2], ["here", "mine"], "{run:?}");
    assert_eq!(lines.len(), 3, "{run:?}");
    // What boots knows its user, too.
    done(&other, &["start", "mine"]);
    done(
        &other,
        &["wait", "mine", "--for", "ready", "--timeout", &timeout(50)],
    );
    let again = done(
        &other,
        &["exec", "mine", "--", "cat", "/root/.ssh/authorized_keys"],
    );
    assert_eq!(again.stdout().trim(), lines[2]);
    done(&other, &["rm", "-f", "mine"]);

    // A snapshot of a machine whose guest was not told yet who its user is.
    done(&other, &["clone", "theirs", "--name", "early"]);
    done(&other, &["template", "create", "second", "--from", "early"]);
    done(&other, &["run", "second", "--", "test", "-e", "/tmp/state"]);
    done(&other, &["rm", "-f", "early"]);
    assert_damage_is_refused(&other, &fs::read(file).expect("file"));
}

/// Of what is not whole there is no template.
fn assert_damage_is_refused(home: &Home, file: &[u8]) {
    let templates = home.path("data/clade/templates");
    let count = || fs::read_dir(&templates).expect("folder").count();
    let before = count();
    for place in [file.len() / 3, file.len() / 2, file.len() - 100_000] {
        let mut flipped = file.to_vec();
        flipped[place] ^= 4;
        let flipped = home.file("flipped", &flipped);
        let said = refused(home, &["template", "import", &flipped, "x"]);
        assert!(said.contains("flipped: it is damaged"), "{said}");
        let short = home.file("short", &file[..place]);
        let said = refused(home, &["template", "import", &short, "x"]);
        assert!(said.contains("short: it is damaged"), "{said}");
    }
    let foreign = home.file("foreign", b"#!/bin/sh\n");
    let said = refused(home, &["template", "import", &foreign]);
    assert!(said.contains("foreign"), "{said}");
    assert_eq!(count(), before);
}
