//! Snapshots that come file by file: only what their manifests say comes in.

mod common;

use std::fs;
use std::path::Path;

use clade_store::Error;
use clade_store::memory::MemoryIndex;
use clade_store::snapshots::{Intake, MANIFEST, Manifest, Snapshot, Snapshots};

use common::{add_memory, details, leftovers, name};

struct World {
    _folder: tempfile::TempDir,
    here: Snapshots,
    there: Snapshots,
    /// One that is there.
    snapshot: Snapshot,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let open = |name| Snapshots::in_folder(folder.path().join(name)).unwrap();
        let (here, there) = (open("here"), open("there"));
        let draft = there.begin().unwrap();
        add_memory(&draft, &MemoryIndex::default(), 7).unwrap();
        let snapshot = draft.commit_as(&name("web"), details(None)).unwrap();
        Self {
            _folder: folder,
            here,
            there,
            snapshot,
        }
    }

    fn begin(&self) -> Intake {
        let manifest = self.snapshot.manifest.clone();
        self.here.take_in(manifest, Path::new("elsewhere")).unwrap()
    }

    fn content(&self, file: &str) -> Vec<u8> {
        fs::read(self.snapshot.path(&name(file))).unwrap()
    }
}

fn said(result: Result<(), Error>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn all_files_come_by_content_or_as_links() {
    let world = World::new();
    let mut intake = world.begin();
    let files = intake.missing();
    assert!(files.len() > 2, "{files:?}");
    for (nth, file) in files.iter().enumerate() {
        let path = world.snapshot.path(file);
        match nth % 2 {
            0 => intake.take(file, fs::File::open(path).unwrap()).unwrap(),
            _ => {
                let record = world.snapshot.manifest.files[file];
                intake.link(file, &path, &record).unwrap();
            }
        }
    }
    let imported = intake.finish().unwrap();
    let made = imported.draft.commit_as(&name("web"), details(None));
    assert!(made.unwrap().verify().is_empty());
    assert!(leftovers(&world.here).is_empty());
}

#[test]
fn what_is_not_as_the_manifest_says_is_refused() {
    let world = World::new();
    let state = name("state.json");
    let content = world.content("state.json");
    let take = |content: &[u8]| said(world.begin().take(&state, content));
    let short = &content[..content.len() - 1];
    assert!(take(short).contains("another size"), "{}", take(short));
    let long = [&content[..], b"x"].concat();
    assert!(take(&long).contains("another size"));
    let mut flipped = content.clone();
    flipped[0] ^= 1;
    assert!(take(&flipped).contains("not what it was"));
    assert!(said(world.begin().take(&name("extra"), &content[..])).contains("does not belong"));

    let mut intake = world.begin();
    intake.take(&state, &content[..]).unwrap();
    assert!(said(intake.take(&state, &content[..])).contains("does not belong"));
    assert!(said(intake.finish().map(drop)).contains("is not in it"));

    // Another file of this host, or one that is no longer what it was.
    let mut intake = world.begin();
    let record = world.snapshot.manifest.files[&state];
    let index = name("memory.index");
    let other = world.snapshot.path(&index);
    let of_other = world.snapshot.manifest.files[&index];
    assert!(said(intake.link(&state, &other, &of_other)).contains("does not belong"));
    assert!(said(intake.link(&state, &other, &record)).contains("damaged"));
    assert!(intake.missing().contains(&state));
    drop(intake);
    assert!(leftovers(&world.here).is_empty());
    assert!(world.there.verify(&name("web")).unwrap().is_empty());
}

#[test]
fn only_a_manifest_of_this_version_is_one() {
    let world = World::new();
    let bytes = fs::read(world.snapshot.folder().join(MANIFEST)).unwrap();
    let path = Path::new("elsewhere");
    assert_eq!(
        Manifest::parse(&bytes, path).unwrap(),
        world.snapshot.manifest
    );
    let error = Manifest::parse(&bytes[1..], path).unwrap_err();
    assert!(error.to_string().starts_with("cannot use elsewhere"));
}
