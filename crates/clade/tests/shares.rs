//! Shared folders, used by a real guest and compared with what this host sees.
//!
//! Needs the image `mini`: without it and without a network these tests cannot run; they say so,
//! and pass.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::sync::MutexGuard;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::SetAtEnd;
use common::images::{alone, clade, mini};
use common::shell::Shell;
use tempfile::TempDir;

/// A running guest with folder `share` of a temporary folder as `/data`.
struct Guest {
    shell: Shell,
    home: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Guest {
    /// Starts the guest, or says why it cannot.
    fn start(test: &str, options: &str) -> Option<Self> {
        mini(test)?;
        let alone = alone();
        let home = tempfile::tempdir().expect("folder");
        let share = home.path().join("share");
        fs::create_dir(&share).expect("folder");
        let client = clade(&["run", "mini", "-v"])
            .arg(format!("{}:/data{options}", share.display()))
            .stderr(Stdio::inherit())
            .spawn()
            .expect("clade");
        Some(Self {
            shell: Shell::of(client),
            home,
            _alone: alone,
        })
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join("share").join(name)
    }

    /// Runs a script, and returns what it prints.
    fn run(&mut self, script: &str) -> String {
        self.shell.run(script)
    }

    fn end(self) {
        self.shell.end();
    }
}

/// How long the host leaves things as they are while the guest looks.
const INSTANT: Duration = Duration::from_millis(1);

fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let names = entries.map(|entry| entry.expect("entry").file_name().into_string());
    names.map(|name| name.expect("text")).collect()
}

#[test]
fn ten_thousand_files_are_made_renamed_and_removed() {
    let Some(mut guest) = Guest::start("ten_thousand_files_are_made_renamed_and_removed", "")
    else {
        return;
    };
    let count = guest.run(
        "cd /data; mkdir a b
        i=0; while [ $i -lt 10000 ]; do echo $i >a/f$i; i=$((i + 1)); done; ls a | wc -l",
    );
    assert_eq!(count, "10000");
    let all = names(&guest.path("a"));
    assert_eq!(all.len(), 10_000);
    guest.run("cd /data/a; ls | grep '[5-9]$' | xargs -n 500 sh -c 'mv \"$@\" ../b' sh");
    guest.run("cd /data/b; ls | grep '^f1' | xargs rm");
    let (moved, stayed): (BTreeSet<_>, BTreeSet<_>) = all
        .into_iter()
        .partition(|name| name.ends_with(['5', '6', '7', '8', '9']));
    let moved: BTreeSet<_> = moved
        .into_iter()
        .filter(|name| !name.starts_with("f1"))
        .collect();
    assert_eq!(names(&guest.path("a")), stayed);
    assert_eq!(names(&guest.path("b")), moved);
    for (folder, names) in [("a", stayed), ("b", moved)] {
        for name in names {
            let content = fs::read_to_string(guest.path(folder).join(&name)).expect("file");
            assert_eq!(content, format!("{}\n", &name[1..]), "{folder}/{name}");
        }
    }
    assert_eq!(guest.run("rm -r /data/*; ls -A /data"), "");
    assert!(names(&guest.path("")).is_empty());
    guest.end();
}

#[test]
fn a_guest_sees_its_own_files_through_links_and_none_of_the_hosts() {
    let test = "a_guest_sees_its_own_files_through_links_and_none_of_the_hosts";
    let Some(mut guest) = Guest::start(test, "") else {
        return;
    };
    let secret = guest.home.path().join("secret");
    fs::write(&secret, "SECRET").expect("file");
    symlink(&secret, guest.path("absolute")).expect("link");
    symlink("../secret", guest.path("relative")).expect("link");
    symlink(guest.home.path(), guest.path("folder")).expect("link");
    guest.run(
        "cd /data; ln -s ../../../../../../etc/passwd up; ln -s / root; ln -s /etc/passwd own",
    );
    for path in [
        "absolute",
        "relative",
        "folder/secret",
        "../secret",
        "root/secret",
    ] {
        let printed = guest.run(&format!("cat /data/{path}"));
        assert!(printed.contains("No such file"), "{path}: {printed}");
    }
    for path in ["up", "own", "root/etc/passwd"] {
        let printed = guest.run(&format!("cat /data/{path}"));
        assert_eq!(printed, "root:x:0:0:root:/root:/bin/sh", "{path}");
    }
    guest.run("echo changed >/data/absolute; echo changed >/data/own; mkdir /data/folder/new");
    assert_eq!(fs::read_to_string(&secret).expect("file"), "SECRET");
    assert!(!guest.home.path().join("new").exists());
    guest.end();
}

#[test]
fn folders_that_become_links_under_way_lead_nowhere_else() {
    let test = "folders_that_become_links_under_way_lead_nowhere_else";
    let Some(mut guest) = Guest::start(test, "") else {
        return;
    };
    let outside = guest.home.path().join("outside");
    for (folder, text) in [(guest.path("folder"), "PLAIN"), (outside.clone(), "SECRET")] {
        fs::create_dir_all(folder.join("deep")).expect("folder");
        fs::write(folder.join("deep/file"), text).expect("file");
    }
    let (folder, aside) = (guest.path("folder"), guest.path("aside"));
    let ended = AtomicBool::new(false);
    let printed = thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                fs::rename(&folder, &aside).expect("away");
                symlink(&outside, &folder).expect("link");
                thread::sleep(INSTANT);
                fs::remove_file(&folder).expect("no link");
                fs::rename(&aside, &folder).expect("back");
                thread::sleep(INSTANT);
            }
        });
        let end = SetAtEnd(&ended);
        let printed = guest.run(
            // The guest believes names for a second: it goes on until it has seen the folder once.
            "cd /data; i=0; while [ $i -lt 300 ] || ! [ -e /tmp/seen ] && [ $i -lt 9000 ]; do
                echo 3 >/proc/sys/vm/drop_caches
                cat folder/deep/file && : >/tmp/seen; echo x >>folder/deep/new; mv folder/deep/new folder/n
                i=$((i + 1)); done",
        );
        drop(end);
        printed
    });
    assert!(printed.contains("PLAIN"), "{printed}");
    assert!(!printed.contains("SECRET"), "{printed}");
    assert_eq!(names(&outside), BTreeSet::from(["deep".to_owned()]));
    assert_eq!(
        names(&outside.join("deep")),
        BTreeSet::from(["file".to_owned()])
    );
    guest.end();
}

#[test]
fn where_the_guest_may_only_read_it_cannot_write() {
    let test = "where_the_guest_may_only_read_it_cannot_write";
    let Some(mut guest) = Guest::start(test, ":ro") else {
        return;
    };
    fs::write(guest.path("file"), "text").expect("file");
    assert_eq!(guest.run("cat /data/file"), "text");
    // A guest's own flag is its own business; the server refuses, too.
    for before in ["", "mount -o remount,rw /data;"] {
        for attempt in [
            "echo x >/data/new",
            "echo x >/data/file",
            "rm /data/file",
            "mkdir /data/d",
        ] {
            let printed = guest.run(&format!("{before} {attempt}"));
            assert!(
                printed.contains("Read-only file system"),
                "{attempt}: {printed}"
            );
        }
    }
    assert_eq!(names(&guest.path("")), BTreeSet::from(["file".to_owned()]));
    guest.end();
}

#[test]
fn big_files_arrive_whole_both_ways() {
    let Some(mut guest) = Guest::start("big_files_arrive_whole_both_ways", "") else {
        return;
    };
    let mut state = 1u64;
    let bytes: Vec<u8> = (0..(48 << 20) / 8)
        .flat_map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state ^ state >> 33).to_le_bytes()
        })
        .collect();
    fs::write(guest.path("big"), &bytes).expect("file");
    let sum = clade_store::Sha256::of(&bytes).to_string();
    let printed = guest.run("sha256sum /data/big");
    assert_eq!(printed.split(' ').next(), Some(&*sum));
    guest.run("cp /data/big /tmp/big && rm /data/big && cp /tmp/big /data/again && rm /tmp/big");
    assert!(fs::read(guest.path("again")).expect("file") == bytes);
    guest.run("dd if=/data/again of=/data/odd bs=12345 skip=7 seek=3 conv=notrunc");
    let odd = fs::read(guest.path("odd")).expect("file");
    assert!(odd[..3 * 12345] == [0; 3 * 12345] && odd[3 * 12345..] == bytes[7 * 12345..]);
    guest.end();
}

#[test]
fn what_the_host_changes_the_guest_sees() {
    let Some(mut guest) = Guest::start("what_the_host_changes_the_guest_sees", "") else {
        return;
    };
    fs::write(guest.path("file"), "one").expect("file");
    assert_eq!(guest.run("cat /data/file; ls -1 /data"), "onefile");
    fs::write(guest.path("file"), "three").expect("file");
    fs::write(guest.path("new"), "").expect("file");
    // What a guest was told it may believe for a second.
    assert_eq!(
        guest.run("sleep 1.1; cat /data/file; echo; ls -1 /data"),
        "three\nfile\nnew"
    );
    fs::remove_file(guest.path("new")).expect("gone");
    fs::rename(guest.path("file"), guest.path("other")).expect("renamed");
    assert_eq!(
        guest.run("sleep 1.1; ls /data; cat /data/other"),
        "other\nthree"
    );
    let held = guest.run("exec 3</data/other; cat <&3");
    assert_eq!(held, "three");
    fs::remove_file(guest.path("other")).expect("gone");
    assert!(
        guest
            .run("sleep 1.1; cat /data/other")
            .contains("No such file")
    );
    guest.end();
}

#[test]
fn odd_names_links_and_modes_are_kept() {
    let Some(mut guest) = Guest::start("odd_names_links_and_modes_are_kept", "") else {
        return;
    };
    guest.run(
        "cd /data; for name in 'a b' '-rf' '*?[' '\\' '...' 'ü' '%41'; do echo >\"./$name\"; done",
    );
    let expected = ["a b", "-rf", "*?[", "\\", "...", "ü", "%41"].map(str::to_owned);
    assert_eq!(names(&guest.path("")), BTreeSet::from(expected));
    let printed = guest.run(
        "cd /data; rm ./*; umask 027; mkdir d; echo x >d/f; ln d/f d/hard; ln -s f d/soft; mkfifo d/p
        chmod 4751 d/f; stat -c '%A %h %N' d d/f d/hard d/soft d/p
        chown 12:34 d/f; stat -c '%u %g' d/f
        (echo through >d/p &); cat d/p",
    );
    let expected = "drwxr-x--- 2 d\n-rwsr-x--x 2 d/f\n-rwsr-x--x 2 d/hard\n\
        lrwxrwxrwx 1 'd/soft' -> 'f'\nprw-r----- 1 d/p\n12 34\nthrough";
    assert_eq!(printed.replace("d/soft -> f", "'d/soft' -> 'f'"), expected);
    guest.end();
}

#[test]
fn what_cannot_be_shared_is_told() {
    for (volume, reason) in [
        ("/nowhere/at/all:/data", "make the folder first"),
        ("/proc/version:/data", "only folders can be shared"),
        ("/tmp:data", "no absolute path"),
    ] {
        let output = clade(&["run", "-v", volume]).output().expect("clade");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(reason) && said.contains(volume), "{said}");
        assert!(!output.status.success());
    }
}

#[test]
fn a_folder_can_be_the_guests_root() {
    let test = "a_folder_can_be_the_guests_root";
    if mini(test).is_none() {
        return;
    }
    let _alone = alone();
    let home = tempfile::tempdir().expect("folder");
    let busybox = clade_images::package_files(
        &["busybox-static"],
        &common::images::source(),
        &clade_images::Silent,
    );
    let Some(packages) = common::images::unless_offline(test, busybox) else {
        return;
    };
    let entries = packages[0].entries().expect("package");
    let program = entries
        .iter()
        .find(|entry| entry.path.ends_with("bin/busybox"));
    let busybox = packages[0]
        .read(&program.expect("busybox").path)
        .expect("busybox");
    let put = |path: &str, content: &[u8]| {
        let path = home.path().join(path);
        fs::create_dir_all(path.parent().expect("folder")).expect("folder");
        fs::write(&path, content).expect("file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("mode");
    };
    put("root/bin/busybox", &busybox);
    put(
        "root/sbin/init",
        b"#!/bin/busybox sh\n\
          export PATH=/bin\n\
          alias b=/bin/busybox\n\
          b echo pid $$, root is $(b grep ' / virtiofs' /proc/mounts | b cut -d' ' -f1,3), data $(b cat /data/file)\n\
          b echo from the guest >/here\n\
          b chown 12:34 /here\n\
          b stat -c %u:%g /here\n\
          b poweroff -f\n",
    );
    put("data/file", b"of the host");
    let volume =
        |name: &str, target: &str| format!("{}:{target}", home.path().join(name).display());
    let output = clade(&["run", "mini"])
        .args([
            "-v",
            &volume("data", "/data:ro"),
            "-v",
            &volume("root", "/"),
        ])
        .stdin(Stdio::null())
        .output()
        .expect("clade");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(
        text.contains("pid 1, root is share1 virtiofs, data of the host"),
        "{text}"
    );
    assert!(text.contains("12:34"), "{text}");
    let written = fs::read_to_string(home.path().join("root/here")).expect("what the guest wrote");
    assert_eq!(written, "from the guest\n");
}
