//! Nothing outside of the folder can be reached.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let mut guest = Guest::new();
    fs::create_dir(guest.path("sub")).expect("folder");
    fs::write(guest.path("file"), "x").expect("file");
    let sub = guest.lookup(ROOT, "sub").expect("there").nodeid;
    let long = "n".repeat(256);
    for node in [ROOT, sub] {
        for name in [
            "..",
            ".",
            "",
            "/",
            "/etc/passwd",
            "sub/..",
            "../file",
            "a/b",
        ] {
            assert_eq!(guest.lookup(node, name).err(), Some(libc::EINVAL), "{name}");
            assert_eq!(
                guest.mkdir(node, name, 0o755).err(),
                Some(libc::EINVAL),
                "{name}"
            );
            assert!(guest.create(node, name, 1, 0o644).is_err(), "{name}");
            let body = with(&fuse_rename_in { newdir: ROOT }, &["file", name]);
            let renamed = guest.ask(fuse_opcode::FUSE_RENAME, ROOT, &body);
            assert_eq!(renamed.err(), Some(libc::EINVAL), "{name}");
            let removed = guest.ask(fuse_opcode::FUSE_RMDIR, node, &text(&[name]));
            assert_eq!(removed.err(), Some(libc::EINVAL), "{name}");
        }
        assert_eq!(guest.lookup(node, &long).err(), Some(libc::ENAMETOOLONG));
    }
}

#[test]
fn links_are_shown_and_never_followed() {
    let mut guest = Guest::new();
    let outside = tempfile::tempdir().expect("folder");
    fs::write(outside.path().join("secret"), "x").expect("file");
    symlink("/etc/passwd", guest.path("file")).expect("link");
    symlink(outside.path(), guest.path("folder")).expect("link");
    for (name, target) in [
        ("file", "/etc/passwd"),
        ("folder", outside.path().to_str().expect("path")),
    ] {
        let link = guest.lookup(ROOT, name).expect("the link");
        assert_eq!(link.attr.mode & libc::S_IFMT, libc::S_IFLNK);
        let read = guest.ask(fuse_opcode::FUSE_READLINK, link.nodeid, &[]);
        assert_eq!(read.expect("target"), target.as_bytes());
        assert_eq!(guest.open(link.nodeid, 0).err(), Some(libc::ELOOP));
        assert_eq!(
            guest.lookup(link.nodeid, "secret").err(),
            Some(libc::ENOTDIR)
        );
        assert_eq!(
            guest.mkdir(link.nodeid, "new", 0o755).err(),
            Some(libc::ENOTDIR)
        );
        // Made through a link that dangles: it is there already.
        assert_eq!(guest.create(ROOT, name, 1, 0o644).err(), Some(libc::ELOOP));
        let truncate = fuse_setattr_in {
            valid: FATTR_SIZE,
            ..fuse_setattr_in::default()
        };
        assert_eq!(guest.set(link.nodeid, truncate).err(), Some(libc::ELOOP));
        let chmod = fuse_setattr_in {
            valid: FATTR_MODE,
            mode: 0,
            ..fuse_setattr_in::default()
        };
        assert_eq!(guest.set(link.nodeid, chmod).err(), Some(libc::EOPNOTSUPP));
        // The link's own times, not its target's.
        let touch = fuse_setattr_in {
            valid: FATTR_MTIME,
            mtime: 1000,
            ..fuse_setattr_in::default()
        };
        assert_eq!(guest.set(link.nodeid, touch).expect("touched").mtime, 1000);
        let hard = fuse_link_in {
            oldnodeid: link.nodeid,
        };
        let hard = with(&hard, &[&format!("hard-{name}")]);
        let hard: fuse_entry_out = guest
            .ask_for(fuse_opcode::FUSE_LINK, ROOT, &hard)
            .expect("a hard link to the link");
        assert_eq!(hard.nodeid, link.nodeid);
    }
    assert_ne!(fs::metadata("/etc/passwd").expect("there").len(), 0);
    let made = fs::read_dir(outside.path()).expect("list").count();
    assert_eq!(made, 1);
}

#[test]
fn a_file_that_was_replaced_is_not_taken_for_the_one_that_was_known() {
    let mut guest = Guest::with_limits(Limits { known: 1, open: 10 });
    fs::create_dir(guest.path("a")).expect("folder");
    fs::write(guest.path("a/file"), "old").expect("file");
    let folder = guest.lookup(ROOT, "a").expect("there").nodeid;
    let file = guest.lookup(folder, "file").expect("there").nodeid;
    // Other files take the place of both handles.
    for name in ["x", "y", "z"] {
        fs::write(guest.path(name), "x").expect("file");
        guest.lookup(ROOT, name).expect("there");
    }
    assert_eq!(guest.attributes(file).expect("found again").size, 3);
    guest.lookup(ROOT, "x").expect("there");
    guest.lookup(ROOT, "y").expect("there");
    fs::rename(guest.path("a"), guest.path("b")).expect("renamed");
    symlink("/etc", guest.path("a")).expect("link");
    assert_eq!(guest.attributes(file).err(), Some(libc::ESTALE));
    assert_eq!(guest.lookup(folder, "passwd").err(), Some(libc::ESTALE));
    // It is found by its new name, and is the same file.
    assert_eq!(guest.lookup(ROOT, "b").expect("there").nodeid, folder);
    assert_eq!(guest.attributes(file).expect("there").size, 3);
}

#[test]
fn a_folder_that_moves_under_way_is_the_same_folder() {
    let mut guest = Guest::new();
    fs::create_dir_all(guest.path("a/b")).expect("folder");
    let a = guest.lookup(ROOT, "a").expect("there").nodeid;
    let b = guest.lookup(a, "b").expect("there").nodeid;
    fs::rename(guest.path("a"), guest.path("c")).expect("renamed");
    symlink("/etc", guest.path("a")).expect("link");
    guest.create(b, "file", 1, 0o644).expect("made");
    assert!(guest.path("c/b/file").exists());
    assert_eq!(guest.lookup(b, "..").err(), Some(libc::EINVAL));
}

#[test]
fn only_files_and_folders_are_opened_and_no_devices_made() {
    let mut guest = Guest::new();
    let fifo = guest
        .mknod(ROOT, "fifo", libc::S_IFIFO | 0o600)
        .expect("made")
        .nodeid;
    for flags in [0, 1, 2] {
        assert_eq!(guest.open(fifo, flags).err(), Some(libc::ENXIO));
        assert_eq!(
            guest.create(ROOT, "fifo", flags, 0o600).err(),
            Some(libc::ENXIO)
        );
    }
    guest
        .mknod(ROOT, "socket", libc::S_IFSOCK | 0o600)
        .expect("made");
    for kind in [libc::S_IFCHR, libc::S_IFBLK] {
        assert_eq!(
            guest.mknod(ROOT, "device", kind | 0o666).err(),
            Some(libc::EPERM)
        );
    }
    assert_eq!(guest.open(ROOT, 0).err(), Some(libc::EISDIR));
    let file = guest
        .mknod(ROOT, "file", libc::S_IFREG | 0o600)
        .expect("made")
        .nodeid;
    let opened = guest.ask(
        fuse_opcode::FUSE_OPENDIR,
        file,
        fuse_open_in::default().as_bytes(),
    );
    assert_eq!(opened.err(), Some(libc::ENOTDIR));
}

#[test]
fn where_the_guest_may_only_read_nothing_changes() {
    let mut guest = Guest::new();
    fs::write(guest.path("file"), "x").expect("file");
    guest.share.read_only = true;
    let file = guest.lookup(ROOT, "file").expect("there").nodeid;
    let before = fs::metadata(guest.path("file"))
        .expect("there")
        .modified()
        .expect("time");
    assert_eq!(guest.open(file, 1).err(), Some(libc::EROFS));
    assert_eq!(guest.open(file, 2).err(), Some(libc::EROFS));
    assert_eq!(
        guest.open(file, libc::O_TRUNC as u32).err(),
        Some(libc::EROFS)
    );
    assert_eq!(guest.create(ROOT, "new", 1, 0o644).err(), Some(libc::EROFS));
    assert_eq!(
        guest.create(ROOT, "file", 0, 0o644).err(),
        Some(libc::EROFS)
    );
    assert_eq!(guest.mkdir(ROOT, "new", 0o755).err(), Some(libc::EROFS));
    assert_eq!(
        guest.mknod(ROOT, "new", libc::S_IFREG).err(),
        Some(libc::EROFS)
    );
    for (operation, body) in [
        (fuse_opcode::FUSE_UNLINK, text(&["file"])),
        (fuse_opcode::FUSE_RMDIR, text(&["file"])),
        (fuse_opcode::FUSE_SYMLINK, text(&["new", "target"])),
        (
            fuse_opcode::FUSE_RENAME,
            with(&fuse_rename_in { newdir: ROOT }, &["file", "new"]),
        ),
        (
            fuse_opcode::FUSE_RENAME2,
            with(
                &fuse_rename2_in {
                    newdir: ROOT,
                    flags: 0,
                    padding: 0,
                },
                &["file", "new"],
            ),
        ),
        (
            fuse_opcode::FUSE_LINK,
            with(&fuse_link_in { oldnodeid: file }, &["new"]),
        ),
        (
            fuse_opcode::FUSE_SETXATTR,
            with(&[1u32, 0], &["user.x", "y"]),
        ),
        (fuse_opcode::FUSE_REMOVEXATTR, text(&["user.x"])),
        (
            fuse_opcode::FUSE_SETATTR,
            fuse_setattr_in::default().as_bytes().to_vec(),
        ),
    ] {
        let node = if matches!(operation, fuse_opcode::FUSE_SETATTR) {
            file
        } else {
            ROOT
        };
        assert_eq!(
            guest.ask(operation, node, &body).err(),
            Some(libc::EROFS),
            "{operation:?}"
        );
    }
    let open = guest.open(file, 0).expect("to read");
    assert_eq!(guest.read(open, 0, 10).expect("read"), b"x");
    let write = fuse_write_in {
        fh: open,
        ..fuse_write_in::default()
    };
    assert_eq!(guest.write(write, b"y").err(), Some(libc::EROFS));
    assert_eq!(guest.list(ROOT, 4096, true).len(), 3);
    let after = fs::metadata(guest.path("file"))
        .expect("there")
        .modified()
        .expect("time");
    assert_eq!(
        (fs::read(guest.path("file")).expect("read"), after),
        (b"x".to_vec(), before)
    );
}
