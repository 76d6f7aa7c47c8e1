//! Snapshots in one file: what goes out comes in, and nothing else does.

mod common;

use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use clade_store::snapshots::{Imported, MANIFEST, Snapshot, Snapshots};
use clade_store::{Error, FileName};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use tar::{Builder, EntryType, Header};

use common::{add_memory, details, leftovers, name};

const HOLES: u64 = 256 << 20;

struct World {
    folder: tempfile::TempDir,
    snapshots: Snapshots,
    /// With memory, and a disk that is all but empty.
    snapshot: Snapshot,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let snapshots = Snapshots::in_folder(folder.path().join("snapshots")).unwrap();
        let draft = snapshots.begin().unwrap();
        add_memory(&draft, &Default::default(), 7).unwrap();
        let disk = draft.create(&name("disk.img")).unwrap();
        disk.set_len(HOLES).unwrap();
        for n in 0..40 {
            disk.write_all_at(b"data", n * 6_000_001).unwrap();
        }
        let snapshot = draft.commit_as(&name("web"), details(None)).unwrap();
        Self {
            folder,
            snapshots,
            snapshot,
        }
    }

    fn export(&self) -> Vec<u8> {
        let mut file = Vec::new();
        let path = Path::new("web.clade");
        let mut read = 0;
        let mut progress = |bytes| read = bytes;
        self.snapshot
            .export(&mut file, path, &mut progress)
            .unwrap();
        assert!(read > 0);
        file
    }

    fn import(&self, file: &[u8]) -> Result<Imported, Error> {
        let path = Path::new("web.clade");
        let is_web = |folder: &FileName, _: &_| {
            assert_eq!(*folder, name("web"));
            Ok(())
        };
        let imported = self.snapshots.import(file, path, is_web, &mut |_| ());
        imported.map(|(_, imported)| imported)
    }

    /// What is said against such a file, of which nothing is left.
    fn refused(&self, file: &[u8]) -> String {
        let said = self.import(file).unwrap_err().to_string();
        assert!(leftovers(&self.snapshots).is_empty());
        said
    }

    /// The text of the manifest.
    fn manifest(&self) -> Vec<u8> {
        fs::read(self.snapshot.folder().join(MANIFEST)).unwrap()
    }
}

#[test]
fn what_goes_out_comes_in() {
    let world = World::new();
    let file = world.export();
    assert!(file.len() < 1 << 20, "{}", file.len());
    let imported = world.import(&file).unwrap();
    assert_eq!(imported.manifest, world.snapshot.manifest);
    let again = imported
        .draft
        .commit_as(&name("again"), details(None))
        .unwrap();
    assert!(world.snapshots.verify(&again.name).unwrap().is_empty());
    for (name, record) in &world.snapshot.manifest.files {
        let here = &again.manifest.files[name];
        assert_eq!((here.size, here.blake3), (record.size, record.blake3));
        assert_ne!(here.inode, record.inode);
    }
    let disk = fs::metadata(again.folder().join("disk.img")).unwrap();
    assert_eq!(disk.len(), HOLES);
    assert!(disk.blocks() * 512 <= 50 * (64 << 10), "{}", disk.blocks());
}

#[test]
fn tar_can_read_it() {
    let world = World::new();
    let file = world.folder.path().join("web.tar.gz");
    fs::write(&file, world.export()).unwrap();
    let tar = Command::new("tar")
        .args(["-xzf", "web.tar.gz"])
        .current_dir(world.folder.path())
        .status();
    match tar {
        Err(error) => eprintln!("SKIPPED tar_can_read_it: tar: {error}"),
        Ok(status) => {
            assert!(status.success());
            for (name, record) in &world.snapshot.manifest.files {
                let path = world.folder.path().join("web").join(name);
                record.verify_path(&path).unwrap();
            }
        }
    }
}

#[test]
fn what_is_not_whole_does_not_come_in() {
    let world = World::new();
    let file = world.export();
    let mut refused = 0;
    for place in (0..file.len()).step_by(file.len() / 50 + 1) {
        let mut flipped = file.clone();
        flipped[place] ^= 1 << (place % 8);
        for damaged in [&flipped, &file[..place]] {
            // Not every byte means something: dates and padding do not.
            match world.import(damaged) {
                Err(_) => refused += 1,
                Ok(imported) => {
                    assert_eq!(imported.manifest, world.snapshot.manifest);
                    let all = imported.draft.commit(details(None)).unwrap();
                    assert!(all.verify().is_empty());
                    world.snapshots.remove(&all.name).unwrap();
                }
            }
            assert!(leftovers(&world.snapshots).is_empty());
        }
    }
    assert!(refused > 70, "{refused}");
    let said = world.refused(&file[..file.len() / 2]);
    assert!(
        said.starts_with("cannot use web.clade: it is damaged"),
        "{said}"
    );
}

#[test]
fn whoever_imports_can_refuse() {
    let world = World::new();
    let path = Path::new("web.clade");
    let refuse = |name: &FileName, _: &_| {
        Err(Error::SnapshotExists {
            name: name.to_string(),
        })
    };
    let imported = world
        .snapshots
        .import(&world.export()[..], path, refuse, &mut |_| ());
    assert!(matches!(imported, Err(Error::SnapshotExists { .. })));
    assert!(leftovers(&world.snapshots).is_empty());
}

#[test]
fn what_does_not_belong_there_does_not_come_in() {
    let world = World::new();
    let manifest = world.manifest();
    let first = ("web/snapshot.json", &manifest[..]);
    let said = |files: &[(&str, &[u8])]| world.refused(&archive(files));
    for path in [
        "web/extra",
        "../state.json",
        "/state.json",
        "state.json",
        "web/../state.json",
        "web/web/state.json",
        "other/state.json",
        "web/snapshot.json",
        "web/.x",
    ] {
        let said = said(&[first, (path, b"x")]);
        assert!(said.contains("does not belong into it"), "{path}: {said}");
    }
    let state = b"{\"vcpus\":[]}";
    let twice = said(&[first, ("web/state.json", state), ("web/state.json", state)]);
    assert!(twice.contains("does not belong into it"), "{twice}");
    let other = said(&[first, ("web/state.json", b"{\"vcpus\":[1}")]);
    assert!(other.contains("state.json in it"), "{other}");
    let missing = said(&[first, ("web/state.json", state)]);
    assert!(missing.contains("is not in it"), "{missing}");
    assert!(said(&[("web/state.json", state)]).contains("expects a snapshot"));
    assert!(said(&[]).contains("expects a snapshot"));
    assert!(world.refused(b"").contains("web.clade"));
    let mut edited = manifest.clone();
    edited[20] ^= 1;
    assert!(said(&[("web/snapshot.json", &edited)]).contains("damaged"));

    let mut link = Header::new_gnu();
    link.set_entry_type(EntryType::Symlink);
    link.set_size(0);
    let linked = pack(|tar| {
        append(tar, first.0, first.1);
        tar.append_link(&mut link, "web/state.json", "/etc/passwd")
            .unwrap();
    });
    assert!(world.refused(&linked).contains("does not belong into it"));
}

/// A small file that is a large one when it is unpacked.
#[test]
fn names_without_end_are_not_read() {
    let world = World::new();
    let bomb = pack(|tar| {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::GNULongName);
        header.set_path("././@LongLink").unwrap();
        header.set_size(1 << 30);
        header.set_cksum();
        tar.append(&header, std::io::repeat(b'a').take(1 << 30))
            .unwrap();
    });
    assert!(bomb.len() < 64 << 20);
    assert!(world.refused(&bomb).contains("its headers are too long"));
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    pack(|tar| {
        files
            .iter()
            .for_each(|(path, content)| append(tar, path, content))
    })
}

/// With whatever path.
fn append(tar: &mut Builder<GzEncoder<Vec<u8>>>, path: &str, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_cksum();
    tar.append(&header, content).unwrap();
}

fn pack(fill: impl FnOnce(&mut Builder<GzEncoder<Vec<u8>>>)) -> Vec<u8> {
    let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    fill(&mut tar);
    let file = tar.into_inner().unwrap().finish().unwrap();
    assert!(GzDecoder::new(&file[..]).read(&mut [0; 10]).is_ok());
    file
}
