//! Names, and what is known of the files that they lead to.

use std::collections::BTreeSet;
use std::fs;

use super::*;

fn rename(
    guest: &mut Guest,
    from: (u64, &str),
    to: (u64, &str),
    flags: u32,
) -> Result<Vec<u8>, i32> {
    let rename = fuse_rename2_in {
        newdir: to.0,
        flags,
        padding: 0,
    };
    guest.ask(
        fuse_opcode::FUSE_RENAME2,
        from.0,
        &with(&rename, &[from.1, to.1]),
    )
}

#[test]
fn folders_are_listed_whole_and_each_name_once() {
    let mut guest = Guest::new();
    let mut expected: BTreeSet<String> = [".".to_owned(), "..".to_owned()].into();
    for number in 0..1000 {
        let name = format!("{number}{}", "x".repeat(number % 100));
        fs::write(guest.path(&name), "").expect("file");
        expected.insert(name);
    }
    for size in [512, 4096, 65536] {
        for plus in [false, true] {
            let names = guest.list(ROOT, size, plus);
            assert_eq!(names.len(), expected.len(), "{size}, {plus}");
            assert_eq!(BTreeSet::from_iter(names), expected);
        }
    }
    // A listing that tells of files counts as looking each up.
    assert_eq!(guest.share.inodes.count().0, 1001);
}

#[test]
fn more_files_are_known_than_are_kept_open() {
    let mut guest = Guest::with_limits(Limits {
        known: 10,
        open: 10,
    });
    fs::create_dir_all(guest.path("a/b/c")).expect("folders");
    for number in 0..200 {
        fs::write(guest.path(&format!("a/b/c/{number}")), "x".repeat(number)).expect("file");
    }
    let mut folder = ROOT;
    for name in ["a", "b", "c"] {
        folder = guest.lookup(folder, name).expect("there").nodeid;
    }
    let nodes: Vec<u64> = (0..200)
        .map(|number| {
            guest
                .lookup(folder, &number.to_string())
                .expect("there")
                .nodeid
        })
        .collect();
    assert_eq!(guest.share.inodes.count(), (204, 10));
    rename(&mut guest, (folder, "7"), (ROOT, "moved"), 0).expect("moved");
    rename(&mut guest, (ROOT, "a"), (ROOT, "z"), 0).expect("moved with all that is in it");
    for (number, node) in (0..).zip(&nodes) {
        assert_eq!(guest.attributes(*node).expect("there").size, number);
    }
    assert!(guest.share.inodes.count().1 <= 10);
    for node in nodes {
        guest.forget(node, 1);
    }
    assert_eq!(guest.share.inodes.count().0, 4);
}

#[test]
fn a_file_is_known_for_as_long_as_the_guest_was_told_of_it() {
    let mut guest = Guest::new();
    fs::write(guest.path("file"), "x").expect("file");
    let node = guest.lookup(ROOT, "file").expect("there").nodeid;
    assert_eq!(guest.lookup(ROOT, "file").expect("there").nodeid, node);
    guest.forget(node, 1);
    guest.attributes(node).expect("known");
    guest.forget(node, 1);
    assert_eq!(guest.attributes(node).err(), Some(libc::ESTALE));
    assert_ne!(guest.lookup(ROOT, "file").expect("there").nodeid, node);
    // The root is known for ever.
    guest.forget(ROOT, u64::MAX);
    guest.attributes(ROOT).expect("known");
    let batch = fuse_batch_forget_in {
        count: u32::MAX,
        dummy: 0,
    };
    let one = fuse_forget_one {
        nodeid: node + 1,
        nlookup: u64::MAX,
    };
    let body = [batch.as_bytes(), one.as_bytes(), one.as_bytes()].concat();
    guest
        .ask(fuse_opcode::FUSE_BATCH_FORGET, 0, &body)
        .expect("silence");
    assert_eq!(guest.share.inodes.count(), (1, 0));
}

#[test]
fn a_guest_cannot_open_more_than_its_share() {
    let mut guest = Guest::with_limits(Limits { known: 10, open: 3 });
    fs::write(guest.path("file"), "x").expect("file");
    let node = guest.lookup(ROOT, "file").expect("there").nodeid;
    let open: Vec<u64> = (0..3).map(|_| guest.open(node, 0).expect("open")).collect();
    assert_eq!(guest.open(node, 0).err(), Some(libc::ENFILE));
    assert_eq!(
        guest.create(ROOT, "new", 1, 0o644).err(),
        Some(libc::ENFILE)
    );
    assert!(!guest.path("new").exists());
    guest.release(open[1]);
    guest.open(node, 0).expect("room again");
    guest.begin();
    guest.lookup(ROOT, "file").expect("anew");
    assert_eq!(guest.share.inodes.count().0, 2);
}

#[test]
fn renames_replace_keep_and_exchange() {
    let mut guest = Guest::new();
    fs::write(guest.path("a"), "a").expect("file");
    fs::write(guest.path("b"), "b").expect("file");
    let a = guest.lookup(ROOT, "a").expect("there").nodeid;
    let kept = rename(&mut guest, (ROOT, "a"), (ROOT, "b"), libc::RENAME_NOREPLACE);
    assert_eq!(kept.err(), Some(libc::EEXIST));
    rename(&mut guest, (ROOT, "a"), (ROOT, "b"), libc::RENAME_EXCHANGE).expect("exchanged");
    assert_eq!(fs::read(guest.path("b")).expect("file"), b"a");
    assert_eq!(guest.lookup(ROOT, "b").expect("there").nodeid, a);
    rename(&mut guest, (ROOT, "b"), (ROOT, "a"), 0).expect("replaced");
    assert_eq!(fs::read(guest.path("a")).expect("file"), b"a");
    assert!(!guest.path("b").exists());
    let whiteout = rename(&mut guest, (ROOT, "a"), (ROOT, "b"), libc::RENAME_WHITEOUT);
    assert_eq!(whiteout.err(), Some(libc::EINVAL));
}

#[test]
fn hard_links_are_one_file() {
    let mut guest = Guest::new();
    let (entry, _) = guest.create(ROOT, "one", 1, 0o644).expect("made");
    let link = fuse_link_in {
        oldnodeid: entry.nodeid,
    };
    let two: fuse_entry_out = guest
        .ask_for(fuse_opcode::FUSE_LINK, ROOT, &with(&link, &["two"]))
        .expect("linked");
    assert_eq!((two.nodeid, two.attr.nlink), (entry.nodeid, 2));
    guest
        .ask(fuse_opcode::FUSE_UNLINK, ROOT, &text(&["one"]))
        .expect("gone");
    assert_eq!(guest.attributes(entry.nodeid).expect("there").nlink, 1);
}

#[test]
fn odd_names_are_names() {
    let mut guest = Guest::new();
    let long = "ü".repeat(127);
    for name in [
        "a b",
        "new\nline",
        "-rf",
        "*?[",
        "\\",
        "..a",
        "...",
        "ü",
        "%2f",
        &long,
    ] {
        guest.create(ROOT, name, 1, 0o644).expect("made");
        assert!(guest.path(name).exists(), "{name}");
        guest.lookup(ROOT, name).expect("found");
        guest
            .ask(fuse_opcode::FUSE_UNLINK, ROOT, &text(&[name]))
            .expect("gone");
    }
}
