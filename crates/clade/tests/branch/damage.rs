//! Snapshots that are not what they were, and hosts without room.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use clade_store::digest::{Blake3, FileRecord};
use serde_json::Value;

use crate::common::images::{alone, is_emulated, mini, skip};
use crate::common::{Home, oci_image};
use crate::world::{World, files, name_of};

/// Turns over a bit in the middle of a file.
fn flip(path: &Path) {
    fs::set_permissions(path, Permissions::from_mode(0o644)).expect("own file");
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .expect("file");
    let middle = file.metadata().expect("metadata").len() / 2;
    let mut byte = [0];
    file.read_exact_at(&mut byte, middle).expect("byte");
    file.write_all_at(&[byte[0] ^ 0x10], middle).expect("byte");
}

fn shorten(path: &Path) {
    let file = fs::File::options().write(true).open(path).expect("file");
    let size = file.metadata().expect("metadata").len();
    file.set_len(size / 2).expect("shorter");
}

fn remove(path: &Path) {
    fs::remove_file(path).expect("own file");
}

#[test]
fn a_flipped_bit_in_any_file_is_found_before_it_is_used() {
    let _alone = alone();
    let Some(world) = World::new("flipped bits") else {
        return;
    };
    world.start("box", &[]);
    world.done(&["snapshot", "box", "-t", "before"]);
    world.shell("box", "echo more >/history; sync");
    world.done(&["snapshot", "box", "-t", "kept"]);
    let [_, snapshot] = &world.snapshots_by_age()[..] else {
        panic!("two snapshots")
    };
    let all = files(snapshot);
    for part in [
        ".mem",
        "memory.index",
        "state.json",
        "snapshot.json",
        ".qcow2",
        "kernel",
    ] {
        assert!(
            all.iter().any(|path| name_of(path).ends_with(part)),
            "{part} of {all:?}"
        );
    }
    let uptime = world.report("box").figure("uptime_ms");
    // The image's own file system is the cache's, too. Translations may be lost, and are looked at below.
    let spared = ["image.raw", "code.cache"];
    for path in all.iter().filter(|path| !spared.contains(&&*name_of(path))) {
        flip(path);
        let name = name_of(path);
        let by_id = name_of(snapshot);
        for arguments in [
            &["restore", &by_id][..],
            &["clone", &by_id],
            &["verify", &by_id],
        ] {
            let finished = world.home.run(arguments);
            assert!(
                matches!(finished.code, Some(1 | 125)),
                "{name}: {finished:?}"
            );
            assert!(
                finished.stderr.contains(&name) || finished.stdout().contains(&name),
                "{name}: {finished:?}"
            );
        }
        flip(path);
    }
    assert!(
        world.report("box").figure("uptime_ms") > uptime,
        "it ran on all the time"
    );
    // All is as it was again.
    world.done(&["verify", &name_of(snapshot)]);
    world.done(&["restore", "box@kept"]);
    assert_eq!(world.shell("box", "cat /history"), "more\n");
    assert_eq!(world.home.machines(), ["box"]);

    if is_emulated("damaged translations") {
        translations_that_cannot_be_used_are_made_again(&world, snapshot);
    }
}

fn translations_that_cannot_be_used_are_made_again(world: &World, snapshot: &Path) {
    let translations = snapshot.join("code.cache");
    for damage in [flip, shorten, remove] {
        damage(&translations);
        world.done(&["clone", &name_of(snapshot), "--name", "copy"]);
        world.report("copy");
        world.done(&["rm", "-f", "copy"]);
    }
    world.done(&["verify", &name_of(snapshot)]);
}

/// Makes a sealed document one of another version, as that version would have written it.
fn change_version(path: &Path, version: u64) {
    change(path, |document| document["version"] = version.into());
}

fn change(path: &Path, change: impl FnOnce(&mut Value)) {
    let text = fs::read_to_string(path).expect("text");
    let mut document: Value = serde_json::from_str(&text).expect("JSON");
    change(&mut document);
    let [kind, version, content] = ["kind", "version", "content"].map(|key| &document[key]);
    let sealed = format!("{{\"kind\":{kind},\"version\":{version},\"content\":{content}");
    let seal = Blake3::of(sealed.as_bytes());
    fs::set_permissions(path, Permissions::from_mode(0o644)).expect("own file");
    fs::write(path, format!("{sealed},\"blake3\":\"{seal}\"}}\n")).expect("file");
}

#[test]
fn a_snapshot_of_another_version_is_refused_by_name_and_its_machine_runs_on() {
    let _alone = alone();
    let Some(world) = World::new("other versions") else {
        return;
    };
    world.start("box", &[]);
    world.done(&["snapshot", "box", "-t", "kept"]);
    let [snapshot] = &world.snapshots()[..] else {
        panic!("one snapshot")
    };
    let name = name_of(snapshot);
    let (state, manifest) = (snapshot.join("state.json"), snapshot.join("snapshot.json"));
    let copies = [&state, &manifest].map(|path| fs::read(path).expect("file"));
    let refused = |version: u64, words: &str| {
        let uptime = world.report("box").figure("uptime_ms");
        for arguments in [&["restore", &name][..], &["clone", &name]] {
            let said = world.refused(arguments);
            let told = format!("version {version}");
            assert!(said.contains(words) && said.contains(&told), "{said}");
        }
        assert!(
            world.report("box").figure("uptime_ms") > uptime,
            "it ran on all the time"
        );
        assert_eq!(world.home.machines(), ["box"]);
    };
    // The state of devices and vCPUs, in a snapshot that is whole.
    change_version(&state, 1);
    change(&manifest, |document| {
        let record = FileRecord::of(&fs::File::open(&state).expect("file")).expect("record");
        document["content"]["files"]["state.json"] = serde_json::to_value(record).expect("JSON");
    });
    world.done(&["verify", &name]);
    refused(1, "older Clade");
    let [old_state, old_manifest] = copies;
    fs::write(&state, old_state).expect("file");
    fs::write(&manifest, old_manifest).expect("file");
    world.done(&["restore", &name]);
    for (version, words) in [(0, "older Clade"), (9, "newer Clade")] {
        change_version(&manifest, version);
        refused(version, words);
    }
}

/// A file system with little room, mounted for as long as this is there.
struct Little(PathBuf);

impl Little {
    fn mount(folder: &Path, size: &str) -> Option<Self> {
        let options = format!("size={size}");
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder);
        let output = mount.output().ok()?;
        output.status.success().then(|| Self(folder.to_owned()))
    }
}

impl Drop for Little {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn without_room_nothing_is_lost() {
    let test = "snapshots on a full disk";
    let _alone = alone();
    if mini(test).is_none() {
        return;
    }
    let home: Home = oci_image::home();
    let data = home.path("data");
    let Some(_little) = Little::mount(&data, "150m") else {
        skip(test, "nothing can be mounted here");
        return;
    };
    // On another file system than the image: that is borrowed, or copied into what is too small.
    let Some(world) = World::in_home(test, home) else {
        return;
    };
    world.start("box", &[]);
    world.shell("box", "echo word >>/history; sync");
    let leave = |room: u64| {
        let filler = fs::File::create(data.join("filler")).expect("file");
        let free = clade_store::free_space(&data).expect("figure");
        rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, free - room)
            .expect("so much room");
    };
    let mut refused = 0;
    for room in [100 << 10, 4 << 20, 16 << 20] {
        leave(room);
        for arguments in [
            &["snapshot", "box"][..],
            &["suspend", "box"],
            &["clone", "box"],
        ] {
            let finished = world.home.run(arguments);
            if finished.code != Some(0) {
                refused += 1;
                let told = finished.stderr.contains("space");
                assert!(told, "{arguments:?}: {finished:?}");
            }
            world.home.run(&["resume", "box"]);
            world.report("box");
            assert_eq!(world.shell("box", "cat /history"), "word\n");
            for copy in world.home.machines().iter().filter(|name| *name != "box") {
                world.done(&["rm", "-f", copy]);
            }
        }
        assert_eq!(world.passing(), Vec::<PathBuf>::new());
    }
    assert!(refused > 0, "there was room all the time");
    fs::remove_file(data.join("filler")).expect("file");
    for snapshot in world.snapshots() {
        world.done(&["verify", &name_of(&snapshot)]);
    }
    world.done(&["kill", "box"]);
    drop(world);
}
