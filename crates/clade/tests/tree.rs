//! How machines and snapshots are seen: tree, lists, what is left of machines that are gone, damage.

mod common;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

use common::guest::Guest;
use common::{Finished, Home, wait_until};

/// Has a machine that runs.
fn run(home: &Home, name: &str) {
    let kernel = home.guest(&Guest::new().print("up\n").echo_until('q').power_off());
    done(&home.run(&["run", "--kernel", &kernel, "-d", "--name", name]));
    wait_until("it is up", || home.run(&["logs", name]).stdout() == "up\n");
}

/// What a command that went well printed.
#[track_caller]
fn done(finished: &Finished) -> String {
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished.stdout().trim_end().to_owned()
}

#[track_caller]
fn json(home: &Home, arguments: &[&str]) -> Vec<serde_json::Value> {
    let printed = done(&home.run(&[arguments, &["--json"]].concat()));
    serde_json::from_str(&printed).expect("a list")
}

/// The first column of what a command prints, but for its heading.
#[track_caller]
fn names(home: &Home, arguments: &[&str]) -> Vec<String> {
    let printed = done(&home.run(arguments));
    let lines = printed.lines().skip(1);
    let name = |line: &str| {
        let start = line.find(char::is_alphanumeric).expect("a name");
        let end = line[start..]
            .find(' ')
            .map_or(line.len(), |end| start + end);
        line[..end].to_owned()
    };
    lines.map(name).collect()
}

#[test]
fn a_tree_shows_what_came_from_what() {
    let home = Home::new();
    run(&home, "web");
    assert_eq!(names(&home, &["tree"]), ["web"]);
    for tag in ["a", "b"] {
        done(&home.run(&["snapshot", "web", "--tag", tag]));
    }
    let id = done(&home.run(&["snapshot", "web"]));
    done(&home.run(&["clone", "web", "--name", "twin"]));
    done(&home.run(&["clone", "web@a", "--name", "other"]));
    let untagged = format!("web@{id}");
    let expected = [
        "web@a".to_owned(),
        "|- web@b".to_owned(),
        format!("|  `- {untagged}"),
        "|     `- web".to_owned(),
        "|        `- twin".to_owned(),
        "`- other".to_owned(),
    ];
    assert_eq!(names(&home, &["tree"]), expected);
    assert_eq!(names(&home, &["tree", "other"]), expected);
    let boxes = home.clade(&["tree"]).env("LANG", "C.UTF-8").output();
    let boxes = String::from_utf8(boxes.expect("clade").stdout).expect("text");
    assert!(boxes.contains("\n└─ other "), "{boxes}");

    let all = json(&home, &["tree"]);
    let called = |name: &str| all.iter().find(|row| row["name"] == name).expect("there");
    assert_eq!(called("web@b")["parent"], called("web@a")["id"]);
    assert_eq!(called("twin")["parent"], called("web")["id"]);
    assert_eq!(
        (&called("web")["kind"], &called("web")["state"]),
        (&"machine".into(), &"running".into())
    );
    let snapshot = called("web@a");
    assert_eq!(
        (&snapshot["kind"], &snapshot["tag"]),
        (&"snapshot".into(), &"a".into())
    );
    for number in ["own", "shared", "pause_ns", "memory", "created"] {
        assert!(snapshot[number].as_u64() > Some(0), "{number}: {snapshot}");
    }

    // Where a link is gone, the rest hangs together as well as it can.
    done(&home.run(&["snapshot", "rm", "web@b"]));
    let printed = done(&home.run(&["tree"]));
    assert!(
        printed.contains("what it came from was removed"),
        "{printed}"
    );
    let left = [
        "web@a".to_owned(),
        "`- other".to_owned(),
        untagged,
        "`- web".to_owned(),
        "   `- twin".to_owned(),
    ];
    assert_eq!(names(&home, &["tree"]), left);
    assert_eq!(names(&home, &["tree", "other"]), left[..2]);
    assert_eq!(names(&home, &["tree", "web@a"]), left[..2]);
    let none = home.run(&["tree", "nobody"]);
    assert_eq!(none.code, Some(125));
    assert!(none.stderr.contains("nobody"), "{none:?}");
}

#[test]
fn snapshots_outlive_their_machine_and_keep_their_names() {
    let home = Home::new();
    run(&home, "web");
    done(&home.run(&["snapshot", "web", "--tag", "a"]));
    let first = json(&home, &["snapshot", "ls"])[0]["id"].clone();
    let first = first.as_str().expect("an id");
    // The same tag once more: now the first is known by its id.
    done(&home.run(&["snapshot", "web", "--tag", "a"]));
    assert_eq!(
        names(&home, &["snapshot", "ls", "web"]),
        [format!("web@{first}"), "web@a".to_owned()]
    );
    let inspected = json(&home, &["inspect", &format!("web@{first}"), "web"]);
    assert_eq!(inspected[0]["id"], first);
    assert!(
        inspected[0]["files"]["state.json"]["size"].is_u64(),
        "{inspected:?}"
    );
    assert_eq!(inspected[1]["state"], "running");

    done(&home.run(&["kill", "web"]));
    done(&home.run(&["rename", "web", "site"]));
    assert_eq!(
        names(&home, &["snapshot", "ls", "site"])
            .last()
            .expect("one"),
        "site@a"
    );
    let removed = home.run(&["rm", "-f", "site"]);
    assert_eq!(removed.stderr.lines().count(), 1, "{removed:?}");
    assert!(removed.stderr.contains("2 snapshots stay"), "{removed:?}");
    assert!(removed.stderr.contains("clade snapshot rm"), "{removed:?}");
    // Its name when they were taken.
    assert_eq!(names(&home, &["snapshot", "ls", "web"]).len(), 2);
    assert_eq!(names(&home, &["tree", "web"])[1], "`- web@a");

    // Another machine of that name has none of them.
    run(&home, "web");
    let other = home.run(&["restore", "web@a"]);
    assert_eq!(other.code, Some(125), "{other:?}");
    assert_eq!(names(&home, &["snapshot", "ls", "web"]), [""; 0]);
    let listed = names(&home, &["snapshot", "ls"]);
    assert_eq!(listed[0], first);
    assert_eq!(
        done(&home.run(&["restore", &listed[1], "--as", "again"])),
        "again"
    );
    done(&home.run(&["snapshot", "rm", first]));
    assert_eq!(names(&home, &["tree", "again"]), [&listed[1], "`- again"]);
}

#[test]
fn damage_is_found_and_named() {
    let home = Home::new();
    run(&home, "web");
    assert_eq!(done(&home.run(&["verify"])), "");
    for tag in ["a", "b"] {
        done(&home.run(&["snapshot", "web", "--tag", tag]));
    }
    assert_eq!(
        done(&home.run(&["verify"])),
        "web@a is whole\nweb@b is whole"
    );
    // A file that only the first has, changed behind everybody's back.
    let folder = json(&home, &["inspect", "web@a"])[0]["folder"].clone();
    let file = PathBuf::from(folder.as_str().expect("a path")).join("state.json");
    let before = fs::metadata(&file).expect("there");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).expect("mode");
    let open = File::options().write(true).open(&file).expect("file");
    open.write_at(b"!", 7).expect("write");
    open.set_modified(before.modified().expect("date"))
        .expect("date");
    let verified = home.run(&["verify"]);
    assert_eq!(verified.code, Some(1), "{verified:?}");
    assert!(
        verified.stdout().contains("web@a is damaged\n"),
        "{verified:?}"
    );
    assert!(
        verified.stdout().contains(file.to_str().expect("plain")),
        "{verified:?}"
    );
    assert!(verified.stdout().contains("web@b is whole"), "{verified:?}");
    assert_eq!(home.run(&["verify", "web@b"]).code, Some(0));
    let running = home.run(&["verify", "web"]);
    assert_eq!(running.code, Some(125), "{running:?}");
    done(&home.run(&["suspend", "web"]));
    assert_eq!(done(&home.run(&["verify", "web"])), "web is whole");
    let state = home.path("data/clade/machines/web/state.json");
    let mut kept = fs::read(&state).expect("file");
    kept[9] ^= 1;
    fs::write(&state, kept).expect("write");
    let verified = home.run(&["verify"]);
    assert!(
        verified.stdout().contains("web is damaged\n"),
        "{verified:?}"
    );
    // Nothing goes on from that.
    let resumed = home.run(&["resume", "web"]);
    assert_eq!(resumed.code, Some(125), "{resumed:?}");
    assert!(resumed.stderr.contains("state.json"), "{resumed:?}");
    done(&home.run(&["kill", "web"]));
    let verified = home.run(&["verify", "web@a", "--json"]);
    let rows: serde_json::Value = serde_json::from_slice(&verified.stdout).expect("JSON");
    assert_eq!((verified.code, &rows[0]["whole"]), (Some(1), &false.into()));

    // The manifest itself: the snapshot is none any more, and can be removed.
    fs::remove_file(file.with_file_name("snapshot.json")).expect("remove");
    let verified = home.run(&["verify"]);
    assert_eq!(verified.code, Some(1), "{verified:?}");
    assert!(verified.stdout().contains("snapshot.json"), "{verified:?}");
    let listed = home.run(&["snapshot", "ls"]);
    assert!(listed.stderr.contains("clade snapshot rm"), "{listed:?}");
    let id = file
        .parent()
        .and_then(|folder| folder.file_name())
        .expect("id");
    done(&home.run(&["snapshot", "rm", id.to_str().expect("plain")]));
    assert_eq!(home.run(&["verify"]).code, Some(0));
}
