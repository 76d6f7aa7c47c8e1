//! Images of every kind of entry, judged by e2fsck and read back by debugfs.

mod common;

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use clade_ext4::{Builder, Error, Kind, Metadata, Options, Special};
use common::Image;

fn builder(size: u64) -> Builder {
    let options = Options {
        size,
        ..Options::default()
    };
    Builder::new(tempfile::tempfile().unwrap(), &options).unwrap()
}

#[test]
fn empty_file_systems_of_many_sizes_are_clean() {
    let mib = 1 << 20;
    for size in [
        16 * mib,
        100 * mib + 4097,
        128 * mib,
        128 * mib + 4096,
        (128 + 9) * mib,
        1024 * mib,
        16384 * mib,
        (300 << 30) + 12345,
    ] {
        let image = Image::build(size, |_| Ok(()));
        image.check().unwrap();
        let taken = fs::metadata(&image.path).unwrap().blocks() * 512;
        assert!(taken < 4 * mib + size / 1000, "{size}: {taken} bytes taken");
    }
}

#[test]
fn every_kind_of_entry_is_kept() {
    let owned = Metadata {
        permissions: 0o4750,
        user: 100_000,
        group: 70_000,
        modified: (1 << 32) + 86400,
        ..Metadata::default()
    };
    let image = Image::build(64 << 20, |image| {
        image.folder("/", &Metadata::folder())?;
        image.file("usr/bin/tool", &owned, &b"tool"[..])?;
        image.hard_link("usr/bin/other", "usr/bin/tool")?;
        image.symlink("bin", &Metadata::default(), "usr/bin")?;
        image.file("bin/late", &Metadata::program(), &b"late"[..])?;
        image.symlink("long", &Metadata::default(), "x".repeat(60))?;
        image.symlink("short", &Metadata::default(), "x".repeat(59))?;
        let device = Special::CharacterDevice { major: 5, minor: 1 };
        image.special("dev/console", &Metadata::file(), device)?;
        let device = Special::BlockDevice {
            major: 259,
            minor: 70000,
        };
        image.special("dev/nvme", &Metadata::file(), device)?;
        image.special("run/pipe", &Metadata::file(), Special::Fifo)?;
        image.special("run/socket", &Metadata::file(), Special::Socket)
    });
    image.check().unwrap();
    let stat = |path: &str| image.debugfs(&format!("stat {path}"));
    let Some(tool) = stat("/usr/bin/tool") else {
        return;
    };
    for expected in [
        "Type: regular    Mode:  04750",
        "User: 100000   Group: 70000",
        "Links: 2",
        "Size: 4",
        "Feb  8 06:28:16 2106",
    ] {
        assert!(tool.contains(expected), "{expected}: {tool}");
    }
    assert!(stat("/usr/bin/late").unwrap().contains("Size: 4"));
    assert!(stat("/dev/console").unwrap().contains("05:01"));
    assert!(stat("/dev/nvme").unwrap().contains("number: 259:70000"));
    assert!(stat("/run/pipe").unwrap().contains("Type: FIFO"));
    assert!(stat("/run/socket").unwrap().contains("Type: socket"));
    assert!(stat("/long").unwrap().contains("Type: symlink"));
}

#[test]
fn attributes_are_kept_in_the_inode_and_in_a_block() {
    let capability =
        b"\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
            .to_vec();
    let with = |attributes: &[(&str, Vec<u8>)]| Metadata {
        attributes: attributes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone()))
            .collect(),
        ..Metadata::file()
    };
    let image = Image::build(64 << 20, |image| {
        let small = with(&[("security.capability", capability.clone())]);
        image.file("small", &small, &b""[..])?;
        let large = with(&[
            ("user.zz", b"last".to_vec()),
            ("user.a-longer-name", vec![b'v'; 3000]),
            ("trusted.empty", Vec::new()),
            ("security.capability", capability.clone()),
        ]);
        image.folder("large", &large)
    });
    image.check().unwrap();
    let Some(listed) = image.debugfs("ea_list large") else {
        return;
    };
    for name in [
        "user.zz (4)",
        "user.a-longer-name (3000)",
        "trusted.empty (0)",
        "security.capability (20)",
    ] {
        assert!(listed.contains(name), "{name}: {listed}");
    }
    let listed = image.debugfs("ea_list small").unwrap();
    assert!(
        listed.contains("security.capability (20) = 01 00 00 02 00 20"),
        "{listed}"
    );

    for (name, value) in [
        ("user.big", vec![0; 4096]),
        ("nothing", Vec::new()),
        ("user.", Vec::new()),
        ("system.posix_acl_access", Vec::new()),
    ] {
        let mut image = builder(64 << 20);
        image.file("a", &with(&[(name, value)]), &b""[..]).unwrap();
        let error = image.finish().unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    }
}

#[test]
fn large_folders_and_scattered_files_are_kept() {
    let image = Image::build(600 << 20, |image| {
        for n in 0..5000 {
            let name = format!("many/{n:0>100}");
            image.file(&name, &Metadata::file(), &[7; 4097][..])?;
        }
        // Every second file's blocks become free, so that the next one lies in 2500 pieces.
        for n in (0..5000).step_by(2) {
            assert!(image.remove(format!("many/{n:0>100}"))?);
        }
        let content: Vec<u8> = (0..30_000_000u32)
            .map(|n| (n / 4096) as u8 ^ n as u8)
            .collect();
        image.file("scattered", &Metadata::file(), content.as_slice())?;
        // And one with a hole, across groups.
        let holes = std::io::repeat(0).take(200 << 20).chain(&b"end"[..]);
        image.file("holes", &Metadata::file(), holes)?;
        let long = std::io::repeat(3).take(300 << 20);
        image.file("long", &Metadata::file(), long)?;
        for n in 0..300 {
            image.folder(format!("folders/{n}"), &Metadata::folder())?;
        }
        Ok(())
    });
    image.check().unwrap();
    let Some(tree) = image.extract() else {
        return;
    };
    let scattered = fs::read(tree.join("scattered")).unwrap();
    assert!(scattered.len() == 30_000_000);
    assert!((0..30_000_000u32).all(|n| scattered[n as usize] == (n / 4096) as u8 ^ n as u8));
    assert_eq!(fs::read_dir(tree.join("many")).unwrap().count(), 2500);
    let long = fs::read(tree.join("long")).unwrap();
    assert!(long.len() == 300 << 20 && long.iter().all(|&byte| byte == 3));
    let holes = fs::read(tree.join("holes")).unwrap();
    assert!(holes.ends_with(b"\0\0end") && holes.len() == (200 << 20) + 3);
    assert_eq!(fs::metadata(tree.join("folders")).unwrap().nlink(), 302);
    let taken = fs::metadata(&image.path).unwrap().blocks() * 512;
    assert!(taken < 370 << 20, "{taken}");
}

#[test]
fn what_was_written_is_read_back_before_the_end() {
    let mut image = builder(64 << 20);
    let content: Vec<u8> = (0..200_000u32).map(|n| n as u8).collect();
    image
        .file("a/file", &Metadata::file(), content.as_slice())
        .unwrap();
    image.symlink("link", &Metadata::default(), "/a").unwrap();
    assert_eq!(image.read("link/file", 200_000).unwrap().unwrap(), content);
    assert_eq!(image.read("link/file", 199_999).unwrap(), None);
    assert_eq!(image.read("a", 9).unwrap(), None);
    assert_eq!(
        image.kind("link").unwrap(),
        Some(Kind::Symlink {
            target: PathBuf::from("/a")
        })
    );
    assert_eq!(
        image.kind("link/file").unwrap(),
        Some(Kind::File { size: 200_000 })
    );
    assert_eq!(image.kind("none/file").unwrap(), None);
    assert_eq!(
        image.names("/").unwrap().unwrap(),
        ["a", "link", "lost+found"].map(PathBuf::from)
    );
    let free = image.free();
    assert!(image.remove("a").unwrap() && !image.remove("a").unwrap());
    assert!(image.free() > free);
}

#[test]
fn links_never_lead_out_of_the_image_nor_for_ever() {
    let mut image = builder(64 << 20);
    image
        .symlink("up", &Metadata::default(), "../../..")
        .unwrap();
    image
        .file("up/etc/passwd", &Metadata::file(), &b"x"[..])
        .unwrap();
    assert_eq!(image.read("etc/passwd", 10).unwrap().unwrap(), b"x");
    image
        .symlink("circle", &Metadata::default(), "circle/on")
        .unwrap();
    for path in [
        "circle/file",
        "a/../b",
        "",
        "/",
        "etc/passwd/below",
        &"n".repeat(256),
    ] {
        let error = image.file(path, &Metadata::file(), &b""[..]).unwrap_err();
        assert!(matches!(error, Error::Path { .. }), "{path}: {error}");
    }
    let error = image.hard_link("new", "none").unwrap_err();
    assert_eq!(error.to_string(), "the image has no none");
    assert!(image.hard_link("new", "etc").is_err());
    assert!(image.symlink("empty", &Metadata::default(), "").is_err());
}

#[test]
fn a_full_image_says_so() {
    let mut image = builder(16 << 20);
    let error = image
        .file("big", &Metadata::file(), std::io::repeat(1))
        .unwrap_err();
    assert!(error.to_string().contains("full: no block"), "{error}");
    let mut image = builder(16 << 20);
    let error = (0..2000)
        .find_map(|n| image.folder(n.to_string(), &Metadata::folder()).err())
        .unwrap();
    assert!(error.to_string().contains("full: no inode"), "{error}");
}
