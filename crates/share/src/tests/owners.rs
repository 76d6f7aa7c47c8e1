//! Owners and modes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;
use crate::owner::Ownership;

fn give(user: u32, group: u32) -> fuse_setattr_in {
    fuse_setattr_in {
        valid: FATTR_UID | FATTR_GID,
        uid: user,
        gid: group,
        ..fuse_setattr_in::default()
    }
}

/// A guest whose host does not let files be given away, if it lets their owners be recorded.
fn unprivileged() -> Option<Guest> {
    let mut guest = Guest::new();
    guest.share.ownership = Ownership::Recorded;
    guest.user = 1234;
    guest.group = 5678;
    let path = guest.path("");
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(&path, "user.test", b"", flags).is_err() {
        eprintln!("SKIPPED: the file system of temporary files has no extended attributes");
        return None;
    }
    Some(guest)
}

#[test]
fn a_file_has_the_mode_that_the_guest_gave_it_whatever_the_hosts_mask() {
    let mut guest = Guest::new();
    for mode in [0o777, 0o666, 0o600, 0o444, 0o1777, 0o4755] {
        let name = format!("{mode:o}");
        let (entry, _) = guest.create(ROOT, &name, 2, mode).expect("made");
        assert_eq!(entry.attr.mode & 0o7777, mode);
        let folder = guest
            .mkdir(ROOT, &format!("d{name}"), mode & 0o1777)
            .expect("made");
        assert_eq!(folder.attr.mode & 0o7777, mode & 0o1777);
        let on_host = fs::metadata(guest.path(&name)).expect("there");
        assert_eq!(on_host.permissions().mode() & 0o7777, mode);
    }
}

#[test]
fn nobody_has_the_number_minus_one() {
    for ownership in [Ownership::of_this_process(), Ownership::Recorded] {
        let mut guest = Guest::new();
        guest.share.ownership = ownership;
        let file = guest.create(ROOT, "file", 2, 0o644).expect("made").0.nodeid;
        for (user, group) in [(u32::MAX, 0), (0, u32::MAX)] {
            assert_eq!(guest.set(file, give(user, group)).err(), Some(libc::EINVAL));
            (guest.user, guest.group) = (user, group);
            let made = guest.create(ROOT, "other", 2, 0o644);
            assert_eq!(made.err(), Some(libc::EINVAL));
        }
    }
}

#[test]
fn owners_that_the_host_refuses_are_recorded() {
    let Some(mut guest) = unprivileged() else {
        return;
    };
    let (entry, _) = guest.create(ROOT, "file", 2, 0o644).expect("made");
    assert_eq!((entry.attr.uid, entry.attr.gid), (1234, 5678));
    let given = guest.set(entry.nodeid, give(0, 7)).expect("given");
    assert_eq!((given.uid, given.gid), (0, 7));
    let again = guest.lookup(ROOT, "file").expect("there").attr;
    assert_eq!((again.uid, again.gid), (0, 7));
    let own = fs::metadata(guest.path("")).expect("there");
    let on_host = fs::metadata(guest.path("file")).expect("there");
    assert_eq!((on_host.uid(), on_host.gid()), (own.uid(), own.gid()));
    // One half only.
    let group = fuse_setattr_in {
        valid: FATTR_GID,
        gid: 8,
        ..fuse_setattr_in::default()
    };
    let given = guest.set(entry.nodeid, group).expect("given");
    assert_eq!((given.uid, given.gid), (0, 8));
    // Back to whom it belongs on the host: nothing is to be recorded.
    guest
        .set(entry.nodeid, give(own.uid(), own.gid()))
        .expect("given");
    let recorded = rustix::fs::getxattr(guest.path("file"), "user.clade.owner", &mut [0; 32]);
    assert_eq!(recorded, Err(rustix::io::Errno::NODATA));
    let folder = guest.mkdir(ROOT, "folder", 0o755).expect("made").attr;
    assert_eq!((folder.uid, folder.gid), (1234, 5678));
}

#[test]
fn what_the_host_has_belongs_to_whom_it_does_there() {
    let Some(mut guest) = unprivileged() else {
        return;
    };
    fs::write(guest.path("file"), "x").expect("file");
    let on_host = fs::metadata(guest.path("file")).expect("there");
    let shown = guest.lookup(ROOT, "file").expect("there").attr;
    assert_eq!((shown.uid, shown.gid), (on_host.uid(), on_host.gid()));
    let flags = rustix::fs::XattrFlags::empty();
    for broken in ["", "x", "1", "1:", ":1", "1:2:3", "99999999999:1", "-1:1"] {
        rustix::fs::setxattr(
            guest.path("file"),
            "user.clade.owner",
            broken.as_bytes(),
            flags,
        )
        .expect("set");
        let shown = guest.lookup(ROOT, "file").expect("there").attr;
        assert_eq!(
            (shown.uid, shown.gid),
            (on_host.uid(), on_host.gid()),
            "{broken}"
        );
    }
}

#[test]
fn a_folder_hands_its_group_down() {
    let Some(mut guest) = unprivileged() else {
        return;
    };
    let folder = guest.mkdir(ROOT, "folder", 0o2775).expect("made").nodeid;
    guest.group = 99;
    let (file, _) = guest.create(folder, "file", 2, 0o644).expect("made");
    assert_eq!((file.attr.uid, file.attr.gid), (1234, 5678));
    let below = guest.mkdir(folder, "below", 0o755).expect("made");
    assert_eq!((below.attr.gid, below.attr.mode & 0o7777), (5678, 0o2755));
}

#[test]
fn the_right_to_act_as_another_goes_when_a_file_changes() {
    let Some(mut guest) = unprivileged() else {
        return;
    };
    let (entry, fh) = guest.create(ROOT, "file", 2, 0o6755).expect("made");
    assert_eq!(entry.attr.mode & 0o7777, 0o6755);
    let write = fuse_write_in {
        fh,
        write_flags: FUSE_WRITE_KILL_SUIDGID,
        ..fuse_write_in::default()
    };
    guest.write(write, b"x").expect("written");
    assert_eq!(
        guest.attributes(entry.nodeid).expect("there").mode & 0o7777,
        0o755
    );
    let mode = fuse_setattr_in {
        valid: FATTR_MODE,
        mode: 0o4711,
        ..fuse_setattr_in::default()
    };
    assert_eq!(
        guest.set(entry.nodeid, mode).expect("set").mode & 0o7777,
        0o4711
    );
    assert_eq!(
        guest.set(entry.nodeid, give(5, 5)).expect("given").mode & 0o7777,
        0o711
    );
}

#[test]
fn times_are_set_one_by_one() {
    let mut guest = Guest::new();
    let (entry, _) = guest.create(ROOT, "file", 2, 0o644).expect("made");
    let times = fuse_setattr_in {
        valid: FATTR_ATIME | FATTR_MTIME,
        atime: 1_000_000,
        mtime: (-5i64) as u64,
        mtimensec: 7,
        ..fuse_setattr_in::default()
    };
    let set = guest.set(entry.nodeid, times).expect("set");
    assert_eq!(
        (set.atime, set.mtime as i64, set.mtimensec),
        (1_000_000, -5, 7)
    );
    let now = fuse_setattr_in {
        valid: FATTR_MTIME | FATTR_MTIME_NOW,
        ..fuse_setattr_in::default()
    };
    let set = guest.set(entry.nodeid, now).expect("set");
    assert!(set.atime == 1_000_000 && set.mtime > 1_700_000_000);
}
