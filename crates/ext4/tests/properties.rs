//! Random steps, done to an image and to a folder of the host, must lead to the same tree.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};

use clade_ext4::{Kind, Metadata};
use common::Image;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    File(String, usize),
    Folder(String),
    Symlink(String),
    HardLink(String, String),
    Remove(String),
}

fn step() -> impl Strategy<Value = Step> {
    let path = "[ab](/[ab]){0,3}";
    prop_oneof![
        3 => (path, prop_oneof![0usize..10, 4000usize..80_000]).prop_map(|(p, n)| Step::File(p, n)),
        2 => path.prop_map(Step::Folder),
        1 => path.prop_map(Step::Symlink),
        2 => (path, path).prop_map(|(p, q)| Step::HardLink(p, q)),
        2 => path.prop_map(Step::Remove),
    ]
}

/// What the same steps do to a folder of the host: the image must become the same.
fn on_host(root: &Path, step: &Step) {
    let clear = |path: &Path| {
        let _ = if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        };
    };
    // Without the links on the way: one of them may be what is about to be replaced.
    let direct = |path: &str| {
        let path = root.join(path);
        Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?))
    };
    let prepare = |path: &str| {
        fs::create_dir_all(root.join(path).parent()?).ok()?;
        let path = direct(path)?;
        clear(&path);
        Some(path)
    };
    match step {
        Step::File(path, size) => {
            if let Some(path) = prepare(path) {
                fs::write(path, vec![*size as u8; *size]).unwrap();
            }
        }
        Step::Folder(path) => {
            let is_folder = |path: &Path| path.symlink_metadata().is_ok_and(|meta| meta.is_dir());
            if !is_folder(&root.join(path))
                && let Some(path) = prepare(path)
            {
                fs::create_dir(path).unwrap();
            }
        }
        Step::Symlink(path) => {
            if let Some(path) = prepare(path) {
                symlink(".", path).unwrap();
            }
        }
        Step::HardLink(path, existing) => {
            let below = existing.starts_with(&format!("{path}/"));
            let Some(existing) = direct(existing) else {
                return;
            };
            let identity = |path: &Path| path.symlink_metadata().ok().map(|meta| meta.ino());
            let same = direct(path).is_some_and(|path| identity(&path) == identity(&existing));
            let linkable = existing.symlink_metadata().is_ok_and(|meta| !meta.is_dir());
            if !same
                && !below
                && linkable
                && let Some(path) = prepare(path)
            {
                // It may have stood below what was just replaced.
                let _ = fs::hard_link(existing, path);
            }
        }
        Step::Remove(path) => clear(&root.join(path)),
    }
}

fn list(root: &Path) -> BTreeMap<PathBuf, (u32, u64, Vec<u8>)> {
    let mut list = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let content = if meta.is_dir() {
                folders.push(path.clone());
                Vec::new()
            } else if meta.is_symlink() {
                Vec::new()
            } else {
                fs::read(&path).unwrap()
            };
            let kind = meta.mode() & 0o170_000;
            let size = if meta.is_dir() { 0 } else { meta.len() };
            list.insert(
                path.strip_prefix(root).unwrap().to_owned(),
                (kind, size, content),
            );
        }
    }
    list.remove(Path::new("lost+found"));
    list
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_steps_leave_a_clean_image_with_the_same_tree(steps in proptest::collection::vec(step(), 0..40)) {
        let host = tempfile::tempdir().unwrap();
        let image = Image::build(32 << 20, |image| {
            for step in &steps {
                on_host(host.path(), step);
                // What cannot be done here (below a file, to a folder) cannot be done on the host.
                let _ = match step {
                    Step::File(path, size) => image
                        .file(path, &Metadata::file(), vec![*size as u8; *size].as_slice())
                        .map(|_| ()),
                    Step::Folder(path) => image.folder(path, &Metadata::folder()),
                    Step::Symlink(path) => image.symlink(path, &Metadata::default(), "."),
                    Step::HardLink(path, existing) => {
                        let below = existing.starts_with(&format!("{path}/"));
                        let folder = matches!(image.kind(existing), Ok(Some(Kind::Folder)));
                        if below || folder { Ok(()) } else { image.hard_link(path, existing) }
                    }
                    Step::Remove(path) => image.remove(path).map(|_| ()),
                };
            }
            Ok(())
        });
        if let Err(report) = image.check() {
            prop_assert!(false, "{}", report);
        }
        if let Some(tree) = image.extract() {
            prop_assert_eq!(list(&tree), list(host.path()));
        }
    }
}
