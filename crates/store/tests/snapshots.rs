//! Snapshots as their users see them: what is kept, what is shared, what is refused.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use clade_store::memory::MemoryIndex;
use clade_store::snapshots::{MANIFEST, Snapshots};
use clade_store::{Error, FileName};

use common::{add_memory, details, leftovers, make, name};

fn store() -> (tempfile::TempDir, Snapshots) {
    let folder = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::in_folder(folder.path().join("snapshots")).unwrap();
    (folder, snapshots)
}

#[test]
fn a_snapshot_is_found_again_as_it_was_made() {
    let (_folder, snapshots) = store();
    let made = make(&snapshots, None, 1).unwrap();
    assert_eq!(snapshots.get(&made.name).unwrap().unwrap(), made);
    assert_eq!(snapshots.find(&made.name.as_str()[..5]).unwrap(), made);
    assert_eq!(
        snapshots.list().unwrap().snapshots,
        std::slice::from_ref(&made)
    );
    assert_eq!(made.manifest.details, details(None));
    made.check().unwrap();
    assert!(snapshots.verify(&made.name).unwrap().is_empty());
    for file in made.manifest.files.keys() {
        assert_eq!(
            made.open(file).unwrap().metadata().unwrap().mode() & 0o777,
            0o444
        );
    }
    assert_eq!(fs::metadata(made.folder()).unwrap().mode() & 0o777, 0o700);
    assert!(leftovers(&snapshots).is_empty());
}

#[test]
fn what_is_shared_outlives_the_snapshot_that_had_it_first() {
    let (_folder, snapshots) = store();
    let first = make(&snapshots, None, 1).unwrap();
    let second = make(&snapshots, Some(&first), 2).unwrap();
    assert_eq!(
        second.manifest.details.parent,
        Some(first.manifest.id.clone())
    );
    let (before, size) = (first.size().unwrap(), second.size().unwrap());
    assert!(before.shared > 0 && before.own > 0 && size.shared == before.shared);
    snapshots.remove(&first.name).unwrap();
    assert!(snapshots.get(&first.name).unwrap().is_none());
    assert!(matches!(
        snapshots.remove(&first.name),
        Err(Error::NoSnapshot { .. })
    ));
    assert!(snapshots.verify(&second.name).unwrap().is_empty());
    assert_eq!(second.size().unwrap().shared, 0);
    assert_eq!(second.memory_index().unwrap().unwrap().layers().len(), 2);
    assert!(leftovers(&snapshots).is_empty());
}

#[test]
fn a_dropped_draft_leaves_nothing_and_a_live_one_is_left_alone() {
    let (_folder, snapshots) = store();
    let draft = snapshots.begin().unwrap();
    draft.create(&name("disk.img")).unwrap();
    assert!(snapshots.list().unwrap().snapshots.is_empty());
    assert!(draft.path(&name("disk.img")).exists());
    drop(draft);
    assert!(leftovers(&snapshots).is_empty());
}

#[test]
fn a_template_has_the_name_that_was_chosen_and_takes_nobody_elses() {
    let (_folder, snapshots) = store();
    let make = |chosen: &FileName| snapshots.begin().unwrap().commit_as(chosen, details(None));
    let mut plain = details(None);
    plain.memory_bytes = None;
    let debian = name("debian");
    assert!(make(&debian).is_err(), "the memory is missing");
    let kept = snapshots
        .begin()
        .unwrap()
        .commit_as(&debian, plain.clone())
        .unwrap();
    let again = snapshots
        .begin()
        .unwrap()
        .commit_as(&debian, plain)
        .unwrap_err();
    assert!(matches!(again, Error::SnapshotExists { .. }), "{again}");
    assert_eq!(snapshots.find("deb").unwrap(), kept);
    assert!(leftovers(&snapshots).is_empty());
}

#[test]
fn a_name_that_fits_several_is_refused_unless_it_is_one() {
    let (_folder, snapshots) = store();
    let mut plain = details(None);
    plain.memory_bytes = None;
    for chosen in ["deb", "debian", "debug"] {
        let draft = snapshots.begin().unwrap();
        draft.commit_as(&name(chosen), plain.clone()).unwrap();
    }
    assert_eq!(snapshots.find("deb").unwrap().name, name("deb"));
    let error = snapshots.find("de").unwrap_err().to_string();
    assert!(
        error.contains("debian") && error.contains("debug"),
        "{error}"
    );
    for none in ["", "x", ".", "..", "../snapshots"] {
        assert!(
            matches!(snapshots.find(none), Err(Error::NoSnapshot { .. })),
            "{none}"
        );
    }
}

#[test]
fn a_flipped_byte_in_any_file_is_found_and_the_file_is_named() {
    let (_folder, snapshots) = store();
    let first = make(&snapshots, None, 1).unwrap();
    let second = make(&snapshots, Some(&first), 2).unwrap();
    for file in second.manifest.files.keys() {
        let path = second.path(file);
        flip(&path, 5);
        let error = second.check().unwrap_err().to_string();
        assert!(error.contains(file.as_str()), "{error}");
        let errors = snapshots.verify(&second.name).unwrap();
        assert_eq!(errors.len(), 1);
        assert!(errors[0].to_string().contains(file.as_str()), "{errors:?}");
        flip(&path, 5);
    }
    second.check().unwrap();
    flip(&second.folder().join(MANIFEST), 40);
    assert!(snapshots.get(&second.name).is_err());
    let survey = snapshots.list().unwrap();
    assert_eq!(survey.snapshots, [first]);
    assert_eq!(survey.unreadable[0].name, second.name);
    let reason = survey.unreadable[0].reason.to_string();
    assert!(
        reason.contains("damaged") && reason.contains(MANIFEST),
        "{reason}"
    );
    snapshots.remove(&second.name).unwrap();
    assert!(snapshots.list().unwrap().unreadable.is_empty());
}

#[test]
fn missing_files_are_named() {
    let (_folder, snapshots) = store();
    let made = make(&snapshots, None, 1).unwrap();
    fs::remove_file(made.folder().join("state.json")).unwrap();
    let error = made.check().unwrap_err().to_string();
    assert!(error.contains("state.json"), "{error}");
    fs::remove_file(made.folder().join(MANIFEST)).unwrap();
    let survey = snapshots.list().unwrap();
    let reason = survey.unreadable[0].reason.to_string();
    assert!(reason.contains("missing"), "{reason}");
}

#[test]
fn memory_without_one_of_its_layers_is_never_named() {
    let (_folder, snapshots) = store();
    for lost in ["memory.index", "state.json", "layer-1.mem"] {
        let draft = snapshots.begin().unwrap();
        add_memory(&draft, &MemoryIndex::default(), 1).unwrap();
        fs::remove_file(draft.path(&name(lost))).unwrap();
        let error = draft.commit(details(None)).unwrap_err().to_string();
        assert!(error.contains(lost), "{error}");
    }
    let draft = snapshots.begin().unwrap();
    add_memory(&draft, &MemoryIndex::default(), 1).unwrap();
    let layer = File::options()
        .write(true)
        .open(draft.path(&name("layer-1.mem")))
        .unwrap();
    layer.set_len(4096).unwrap();
    let error = draft.commit(details(None)).unwrap_err().to_string();
    assert!(error.contains("4096 bytes"), "{error}");
    assert!(snapshots.list().unwrap().snapshots.is_empty());
    assert!(leftovers(&snapshots).is_empty());
}

#[test]
fn files_that_are_known_are_not_read_again_unless_they_changed() {
    let (folder, snapshots) = store();
    let disk = folder.path().join("disk.img");
    fs::write(&disk, vec![7; 100_000]).unwrap();
    let mut plain = details(None);
    plain.memory_bytes = None;
    let commit = |known: Option<clade_store::digest::FileRecord>| {
        let mut draft = snapshots.begin().unwrap();
        draft.know(known);
        draft.link(&disk, &name("disk.img")).unwrap();
        let made = draft.commit(plain.clone()).unwrap();
        made.manifest.files[&name("disk.img")]
    };
    let record = commit(None);
    let mut claimed = record;
    claimed.blake3 = clade_store::digest::Blake3::of(b"something else");
    assert_eq!(commit(Some(claimed)), claimed, "it was not read");
    claimed.mtime_ns += 1;
    assert_eq!(commit(Some(claimed)), record, "it was read");
}

#[test]
fn what_a_dead_process_left_is_cleared_away() {
    let (_folder, snapshots) = store();
    let made = make(&snapshots, None, 1).unwrap();
    for left in [".new-000000000000", ".gone-000000000000"] {
        let folder = snapshots.folder().join(left);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("disk.img"), "half").unwrap();
        fs::write(snapshots.folder().join(format!("{left}.lock")), "").unwrap();
    }
    assert_eq!(snapshots.list().unwrap().snapshots, [made]);
    assert!(leftovers(&snapshots).is_empty());
}

fn flip(path: &std::path::Path, at: u64) {
    let mode = fs::metadata(path).unwrap().permissions();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let file = File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1;
    file.write_all_at(&byte, at).unwrap();
    fs::set_permissions(path, mode).unwrap();
}
