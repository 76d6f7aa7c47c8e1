//! Processes that are killed, that work side by side, and that have no room: the store stays whole.

mod common;

use std::env;
use std::path::Path;
use std::process::{Child, Command, Stdio, id};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clade_store::snapshots::{Snapshot, Snapshots};
use clade_store::{Error, free_space};

use common::{leftovers, make};

/// Tells a worker where to work.
const FOLDER: &str = "CLADE_STORE_TEST_FOLDER";
/// Tells a worker how often.
const ROUNDS: &str = "CLADE_STORE_TEST_ROUNDS";
/// Snapshots beyond this many are removed again.
const ENOUGH: usize = 12;

fn open(folder: &Path) -> Snapshots {
    Snapshots::in_folder(folder.join("snapshots")).unwrap()
}

/// Another test of this program, in a process of its own.
fn start(test: &str, folder: &Path, rounds: u32) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--exact", test])
        .env(FOLDER, folder)
        .env(ROUNDS, rounds.to_string())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// All that is listed is whole, and nothing else is there.
fn check(snapshots: &Snapshots) -> usize {
    let survey = snapshots.list().unwrap();
    assert!(survey.unreadable.is_empty(), "{:?}", survey.unreadable);
    assert!(
        leftovers(snapshots).is_empty(),
        "{:?}",
        leftovers(snapshots)
    );
    for snapshot in &survey.snapshots {
        let errors = snapshots.verify(&snapshot.name).unwrap();
        assert!(errors.is_empty(), "{errors:?}");
        let index = snapshot.memory_index().unwrap().unwrap();
        assert!(index.page_count() > 0);
    }
    survey.snapshots.len()
}

#[test]
fn killed_at_any_instant_a_process_leaves_whole_snapshots_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let snapshots = open(folder.path());
    let (mut most, mut in_the_middle) = (0, 0);
    for round in 0..200 {
        let mut workers = [(); 2].map(|()| start("worker", folder.path(), u32::MAX));
        thread::sleep(Duration::from_micros(2_000 + chance(round) % 40_000));
        for worker in &mut workers {
            worker.kill().unwrap();
            worker.wait().unwrap();
        }
        in_the_middle += u32::from(!leftovers(&snapshots).is_empty());
        most = most.max(check(&snapshots));
    }
    println!("{in_the_middle} of 200 times something was half done; up to {most} snapshots");
    assert!(
        in_the_middle > 30,
        "hardly ever killed at work: {in_the_middle}"
    );
    assert!(
        most > 3,
        "the processes got nowhere before they were killed"
    );
}

#[test]
fn eight_processes_share_one_store() {
    let folder = tempfile::tempdir().unwrap();
    let workers: Vec<Child> = (0..8).map(|_| start("worker", folder.path(), 40)).collect();
    for mut worker in workers {
        assert!(worker.wait().unwrap().success());
    }
    assert!(check(&open(folder.path())) > 0);
}

#[test]
fn a_full_disk_is_said_and_harms_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let namespace = |then: &str| {
        let mut command = Command::new("unshare");
        let mount = "mount -t tmpfs -o size=2m none \"$0\" && ".to_owned() + then;
        command.args(["-rm", "sh", "-c", &mount]).arg(folder.path());
        command
    };
    if !namespace("true")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        println!("SKIPPED: this user may not mount a small file system");
        return;
    }
    let output = namespace("exec \"$1\" --ignored --exact --nocapture worker_without_room")
        .arg(env::current_exe().unwrap())
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && text.contains("was full"),
        "{text}"
    );
}

#[test]
#[ignore = "what the other tests start, as processes of their own"]
fn worker() {
    let (Some(folder), Ok(rounds)) = (env::var_os(FOLDER), env::var(ROUNDS)) else {
        println!("SKIPPED: not started by another test");
        return;
    };
    let snapshots = open(Path::new(&folder));
    for round in 0..rounds.parse::<u32>().unwrap() {
        work(&snapshots, u64::from(round));
    }
}

/// Makes a snapshot, and removes one if there are enough. Others may do so with the same ones.
fn work(snapshots: &Snapshots, round: u64) {
    let mut known = snapshots.list().unwrap().snapshots;
    let chance = chance(round);
    if known.len() > ENOUGH {
        let victim = known.swap_remove(chance as usize % known.len());
        match snapshots.remove(&victim.name) {
            Ok(()) | Err(Error::NoSnapshot { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let parent = known.get(chance as usize % (known.len() + 1));
    if let Err(error) = make(snapshots, parent, chance) {
        let gone = |parent: &Snapshot| !parent.folder().exists();
        assert!(parent.is_some_and(gone), "{error}");
    }
}

#[test]
#[ignore = "what another test starts, on a small file system"]
fn worker_without_room() {
    let Some(folder) = env::var_os(FOLDER) else {
        println!("SKIPPED: not started by another test");
        return;
    };
    let snapshots = open(Path::new(&folder));
    let mut parent = None;
    let error = loop {
        match make(&snapshots, parent.as_ref(), chance(0)) {
            Ok(made) => parent = Some(made),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    println!("the disk was full: {error}");
    let count = check(&snapshots);
    assert!(count > 1);
    let oldest = &snapshots.list().unwrap().snapshots[..count - 1];
    for snapshot in oldest {
        snapshots.remove(&snapshot.name).unwrap();
    }
    make(&snapshots, None, chance(1)).unwrap();
    assert_eq!(check(&snapshots), 2);
    fail_at_every_write(&snapshots);
}

/// Leaves room for a little more each time, until it is enough.
fn fail_at_every_write(snapshots: &Snapshots) {
    let ballast = snapshots.folder().with_file_name("ballast");
    let mut made = 0;
    for room in 0..64 {
        let free = free_space(snapshots.folder()).unwrap();
        let filled = vec![1; (free - room * 4096) as usize];
        std::fs::write(&ballast, filled).unwrap();
        match make(snapshots, None, chance(room)) {
            Err(Error::DiskFull { .. }) => {}
            Err(error) => panic!("{error}"),
            Ok(snapshot) => {
                made += 1;
                snapshots.remove(&snapshot.name).unwrap();
            }
        }
        std::fs::remove_file(&ballast).unwrap();
        assert_eq!(check(snapshots), 2);
    }
    assert!((1..60).contains(&made), "{made}");
}

/// Some number that differs from process to process and from time to time.
fn chance(salt: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mixed =
        (now.as_nanos() as u64 ^ u64::from(id()) << 32 ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed >> 24
}
