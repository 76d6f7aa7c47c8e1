//! Disks, used by a real guest and looked at by this host's tools.
//!
//! Needs the image `mini`, and `mke2fs` and `e2fsck`: without them these tests cannot run; they
//! say so, and pass.

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::MutexGuard;
use std::thread;
use std::time::{Duration, Instant};

use common::images::{alone, mini, skip, unpack_fio};
use common::seconds;
use common::shell::Shell;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A folder for disks and for the state of one machine.
struct Home {
    folder: TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Home {
    /// A home, or why the test cannot run.
    fn new(test: &str) -> Option<Self> {
        mini(test)?;
        for tool in ["mke2fs", "e2fsck"] {
            if let Err(error) = Command::new(tool).arg("-V").output() {
                skip(test, format!("{tool}: {error}"));
                return None;
            }
        }
        let folder = tempfile::tempdir().expect("folder");
        for name in ["run", "data"] {
            fs::create_dir(folder.path().join(name)).expect("folder");
        }
        Some(Self {
            folder,
            _alone: alone(),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A disk with an empty ext4 file system.
    fn disk(&self, name: &str, size: u64) -> PathBuf {
        let path = self.path(name);
        File::create(&path)
            .expect("file")
            .set_len(size)
            .expect("size");
        let made = Command::new("mke2fs")
            .args(["-q", "-F", "-t", "ext4"])
            .arg(&path)
            .status();
        assert!(made.expect("mke2fs").success());
        path
    }

    fn clade(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clade"));
        command
            .args(arguments)
            .env("CLADE_ENGINE", common::engine())
            .env("CLADE_COLD", "1")
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("XDG_DATA_HOME", self.path("data"));
        command
    }

    fn start(&self, disks: &[&str]) -> Shell {
        self.start_with(&[], disks)
    }

    fn start_with(&self, options: &[&str], disks: &[&str]) -> Shell {
        let mut command = self.clade(&["run", "mini"]);
        command.args(options);
        for disk in disks {
            command.args(["--disk", disk]);
        }
        let client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        Shell::of(client.expect("clade"))
    }

    fn machine_log(&self, name: &str) -> PathBuf {
        self.path("data/clade/machines")
            .join(name)
            .join("machine.log")
    }

    /// The process of the one machine.
    fn machine(&self) -> Pid {
        let listed = self
            .clade(&["ps", "--json"])
            .output()
            .expect("clade")
            .stdout;
        let listed: serde_json::Value = serde_json::from_slice(&listed).expect("JSON");
        let pid = listed[0]["pid"].as_i64().expect("a machine with a pid");
        Pid::from_raw(pid as i32).expect("pid")
    }
}

/// Checks the file system on a raw disk as it is, changing nothing.
fn assert_clean(disk: &Path) {
    let checked = Command::new("e2fsck").args(["-f", "-n"]).arg(disk).output();
    let checked = checked.expect("e2fsck");
    let said = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success(), "{said}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("plain path")
}

#[test]
fn a_guest_uses_its_disks() {
    let Some(home) = Home::new("a_guest_uses_its_disks") else {
        return;
    };
    let disk = home.disk("disk.img", 64 << 20);
    fs::write(
        home.path("read.img"),
        [b"only to be read\n", &[0; 496][..]].concat(),
    )
    .expect("file");
    let written = format!("{},serial=S-1", text(&disk));
    let read = format!("{},ro", text(&home.path("read.img")));
    let mut guest = home.start(&[&written, &read]);
    assert_eq!(guest.run("cat /sys/block/vda/serial"), "S-1");
    assert_eq!(
        guest.run("cat /sys/block/vda/size /sys/block/vdb/ro"),
        "131072\n1"
    );
    assert_eq!(guest.run("head -n 1 /dev/vdb"), "only to be read");
    assert!(guest.run("echo x >/dev/vdb").contains("not permitted"));
    let rng = "cat /sys/class/misc/hw_random/rng_current; head -c 1000 /dev/hwrng | wc -c";
    assert_eq!(guest.run(rng), "virtio_rng.0\n1000");
    guest.run("mkdir /d; mount -t ext4 /dev/vda /d; cp -a /bin/busybox /lib /d");
    // Nobody else may use it meanwhile.
    let second = home
        .clade(&["run", "mini", "--disk", &written])
        .output()
        .expect("clade");
    assert_eq!(second.status.code(), Some(125));
    assert!(String::from_utf8_lossy(&second.stderr).contains("in use"));
    let sum = "sha256sum /d/busybox | cut -c1-64";
    let there = guest.run(sum);
    guest.run("umount /d");
    guest.end();
    assert_clean(&disk);

    let mut guest = home.start(&[&format!("{},ro", text(&disk))]);
    let mount = "mkdir /d; mount -t ext4 -o ro /dev/vda /d; mount | grep -c vda";
    assert_eq!(guest.run(mount), "1");
    assert_eq!(guest.run(sum), there);
    assert_eq!(guest.run("sha256sum /bin/busybox | cut -c1-64"), there);
    guest.end();
}

#[test]
fn what_was_flushed_survives_the_death_of_the_machine() {
    let Some(home) = Home::new("what_was_flushed_survives_the_death_of_the_machine") else {
        return;
    };
    let disk = home.disk("disk.img", 128 << 20);
    let mut guest = home.start(&[text(&disk)]);
    let mounted = guest.run("mkdir /d; mount -t ext4 /dev/vda /d; mount | grep -c vda");
    assert_eq!(mounted, "1");
    // Files that are flushed one by one and told of, with a writer beside that never waits.
    let script = "(while :; do dd if=/dev/zero of=/d/noise bs=64k count=200 2>/dev/null; done) &
        i=0; while :; do i=$((i + 1))
        head -c 20000 /dev/urandom >/tmp/f; dd if=/tmp/f of=/d/f$i conv=fsync 2>/dev/null || exit
        echo flushed $i $(sha256sum </tmp/f | cut -c1-64); done";
    guest.send(script);
    let mut flushed = Vec::new();
    let begun = Instant::now();
    while flushed.len() < 20 || begun.elapsed() < Duration::from_secs(3) {
        let line = guest.line().expect("it runs");
        if let [_, number, sum] = line.split_whitespace().collect::<Vec<_>>()[..] {
            flushed.push((number.to_owned(), sum.to_owned()));
        }
    }
    kill_process(home.machine(), Signal::KILL).expect("killed");
    assert!(!guest.wait().success());

    // Linux replays its journal; then all is there, and all is well.
    let mut guest = home.start(&[text(&disk)]);
    guest.run("mkdir /d; mount -t ext4 /dev/vda /d");
    for (number, sum) in &flushed {
        let found = guest.run(&format!("sha256sum </d/f{number} | cut -c1-64"));
        assert_eq!(&found, sum, "file {number} of {}", flushed.len());
    }
    guest.run("umount /d");
    guest.end();
    assert_clean(&disk);
}

/// fio writes blocks at random places, none twice, each done when it is durable. A job has one write
/// in flight: of several, what fio records of them does not tell which are done.
const FIO: &str = "fio --name=job --numjobs=4 --directory=/d --size=64m --rw=randwrite --bs=4k \
                   --ioengine=psync --direct=1 --sync=dsync --verify=crc32c --aux-path=/kept";
const JOBS: usize = 4;

#[test]
fn fio_finds_every_block_that_was_flushed_before_the_death_of_the_machine() {
    const TEST: &str = "fio_finds_every_block_that_was_flushed_before_the_death_of_the_machine";
    let Some(home) = Home::new(TEST) else {
        return;
    };
    if unpack_fio(TEST, &home.path("fio")).is_none() {
        return;
    }
    let raw = home.disk("disk.img", 512 << 20);
    assert_fio_finds_all(&home, &raw);
    assert_clean(&raw);

    let qcow2 = home.path("disk.qcow2");
    let raw = home.disk("disk.img", 512 << 20);
    if let Err(error) = Command::new("qemu-img").arg("--version").output() {
        return skip(TEST, format!("no disk in qcow2: qemu-img: {error}"));
    }
    qemu_img(&["convert", "-O", "qcow2", text(&raw), text(&qcow2)]);
    assert_fio_finds_all(&home, &qcow2);
    qemu_img(&["check", text(&qcow2)]);
    qemu_img(&["convert", "-O", "raw", text(&qcow2), text(&raw)]);
    assert_clean(&raw);
}

/// Kills a machine in which fio writes to the disk, and has fio verify in a second one what it had
/// recorded as done.
fn assert_fio_finds_all(home: &Home, disk: &Path) {
    let kept = home.path("kept");
    fs::create_dir_all(&kept).expect("folder");
    let programs = format!("{}:/usr:ro", home.path("fio/usr").display());
    let kept = format!("{}:/kept", kept.display());
    let options = ["-v", &programs, "-v", &kept];

    let mut guest = home.start_with(&options, &[text(disk)]);
    guest.run("mkdir /d; mount -t ext4 /dev/vda /d");
    // Beside it, somebody who never waits.
    guest.send("while :; do dd if=/dev/zero of=/d/noise bs=64k count=200 2>/dev/null; done &");
    guest.send(&format!(
        "{FIO} --do_verify=0 --trigger-timeout=5 --trigger='echo recorded; sleep 1000'"
    ));
    guest.until("recorded");
    kill_process(home.machine(), Signal::KILL).expect("killed");
    assert!(!guest.wait().success());

    let mut guest = home.start_with(&options, &[text(disk)]);
    guest.run("mkdir /d; mount -t ext4 /dev/vda /d");
    let said = guest.run(&format!(
        "{FIO} --verify_only=1 --verify_state_load=1 --output-format=json; echo status $?"
    ));
    assert!(said.ends_with("status 0"), "{said}");
    // Each job went as far as its record does.
    assert_eq!(said.matches("Stop verify").count(), JOBS, "{said}");
    let verified = verified_blocks(&said);
    assert!(verified.iter().all(|&count| count > 10), "{verified:?}");
    guest.run("umount /d");
    guest.end();
}

/// How many blocks each job read, by fio's report.
fn verified_blocks(said: &str) -> Vec<u64> {
    let report = said.find("\n{\n").map(|at| &said[at..]).expect("a report");
    let mut reports = serde_json::Deserializer::from_str(report).into_iter();
    let report: serde_json::Value = reports.next().expect("a report").expect("JSON");
    let jobs = report["jobs"].as_array().expect("jobs");
    jobs.iter()
        .map(|job| job["read"]["total_ios"].as_u64().expect("a count"))
        .collect()
}

fn qemu_img(arguments: &[&str]) {
    let done = Command::new("qemu-img").args(arguments).output();
    let done = done.expect("qemu-img");
    assert!(done.status.success(), "{arguments:?}: {done:?}");
}

#[test]
fn a_guest_that_resets_finds_its_disk_again() {
    let Some(home) = Home::new("a_guest_that_resets_finds_its_disk_again") else {
        return;
    };
    fs::write(home.path("disk.img"), vec![0; 1 << 20]).expect("file");
    let mut guest = home.start(&[text(&home.path("disk.img"))]);
    guest.run("echo written before >/dev/vda; sync");
    guest.send("reboot -f");
    // What is typed before the next boot's shell listens may be lost.
    let mut input = guest.take_input();
    let typist = thread::spawn(move || {
        while writeln!(input, "head -n 1 /dev/vda").is_ok() {
            thread::sleep(Duration::from_millis(500));
        }
    });
    guest.until("written before");
    kill_process(home.machine(), Signal::KILL).expect("killed");
    guest.wait();
    typist.join().expect("typist");
}

#[test]
fn a_disk_that_is_none_is_refused() {
    let Some(home) = Home::new("a_disk_that_is_none_is_refused") else {
        return;
    };
    fs::write(home.path("odd"), [0; 100]).expect("file");
    fs::write(home.path("guest.img"), b"QFI\xfb and more").expect("file");
    let cases = [
        ("none.img", "truncate --size=8G"),
        ("data", "is a folder"),
        ("odd", "no multiple of 512"),
        ("guest.img", "format=raw"),
        ("odd,format=qcow2", "qemu-img check"),
        ("odd,format=vmdk", "there are raw and qcow2"),
    ];
    for (disk, text) in cases {
        let disk = home.path(disk);
        let refused = home
            .clade(&["run", "mini", "--disk", self::text(&disk)])
            .output();
        let refused = refused.expect("clade");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            !refused.status.success() && said.contains(text),
            "{disk:?}: {said}"
        );
    }
}

/// A file system of 16 MiB that ends with this value; none, said aloud, where this user may mount
/// none.
struct Small(PathBuf);

impl Small {
    fn mount(test: &str, folder: PathBuf) -> Option<Self> {
        fs::create_dir(&folder).expect("folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16m", "none"])
            .arg(&folder)
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder)),
            refused => {
                skip(test, format!("no small file system: {refused:?}"));
                None
            }
        }
    }

    /// Makes a disk that looks larger than the file system is, and something that can be removed.
    fn furnish(&self) -> (PathBuf, PathBuf) {
        let (disk, ballast) = (self.0.join("disk"), self.0.join("ballast"));
        let file = File::create(&disk).expect("file");
        file.set_len(32 << 20).expect("sparse");
        fs::write(&ballast, vec![0; 8 << 20]).expect("file");
        (disk, ballast)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn wait_for_text(file: &Path, text: &str) {
    let started = Instant::now();
    while !fs::read_to_string(file).is_ok_and(|content| content.contains(text)) {
        assert!(
            started.elapsed() < seconds(60),
            "{text:?} never came: {:?}",
            fs::read_to_string(file)
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// More than there is room for beside the ballast.
const FILL: &str = "dd if=/dev/urandom of=/dev/vda bs=1M count=12 conv=fsync 2>&1; echo status $?";

#[test]
fn on_a_full_host_a_guest_sees_errors_or_waits_as_it_was_told() {
    const TEST: &str = "on_a_full_host_a_guest_sees_errors_or_waits_as_it_was_told";
    let Some(home) = Home::new(TEST) else {
        return;
    };
    let Some(small) = Small::mount(TEST, home.path("small")) else {
        return;
    };
    let (disk, ballast) = small.furnish();
    let mut guest = home.start(&[text(&disk)]);
    let said = guest.run(FILL);
    assert!(
        said.contains("status 1") && said.contains("I/O error"),
        "{said}"
    );
    guest.end();

    let (disk, _) = small.furnish();
    let options = ["--on-full-disk", "wait", "--name", "patient"];
    let mut guest = home.start_with(&options, &[text(&disk)]);
    let room = thread::spawn({
        let log = home.machine_log("patient");
        move || {
            wait_for_text(&log, "waits until there is space");
            fs::remove_file(ballast).expect("removed");
        }
    });
    let said = guest.run(FILL);
    assert!(said.contains("status 0"), "{said}");
    room.join().expect("room");
    wait_for_text(&home.machine_log("patient"), "there is space again");
    guest.end();
    let written = fs::read(&disk).expect("disk");
    assert!(
        written[..12 << 20]
            .chunks(4096)
            .all(|page| page != [0; 4096])
    );

    // Who waits can still be ended.
    let (disk, _) = small.furnish();
    let options = ["--on-full-disk", "wait", "--name", "stuck"];
    let mut guest = home.start_with(&options, &[text(&disk)]);
    guest.send(FILL);
    wait_for_text(&home.machine_log("stuck"), "waits until there is space");
    let started = Instant::now();
    let stopped = home.clade(&["stop", "--timeout", "2", "stuck"]).output();
    assert!(stopped.expect("clade").status.success());
    assert!(started.elapsed() < seconds(30));
    guest.wait();
}
