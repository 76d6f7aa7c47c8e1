use clade_store::snapshots::{MEMORY_INDEX, STATE};

use super::*;
use crate::testing::{home, spec};
use crate::{Machines, State};

const LAYER: &str = "a.mem";
const OLD: &str = "old";
const NEW: &str = "new";

/// A machine that is suspended, and what it is to be, which has memory or not, with its name on it.
fn prepare(machines: &Machines, has_memory: bool) -> PathBuf {
    let folder = machines.folder().join("one");
    let next = folder.join("restored-1");
    for (folder, words) in [(&folder, OLD), (&next, NEW)] {
        fs::create_dir(folder).expect("folder");
        let mut spec = spec("one", "1");
        spec.config.cmdline = words.to_owned();
        write_spec(folder, &spec).expect("spec");
        let memory = [SUSPENDED_FILE, STATE, MEMORY_INDEX];
        for name in memory.iter().filter(|_| has_memory || *folder != next) {
            fs::write(folder.join(name), words).expect("file");
        }
    }
    fs::write(next.join(LAYER), NEW).expect("file");
    symlink("restored-1", folder.join(RESTORED)).expect("link");
    folder
}

fn look(machines: &Machines) -> (String, State) {
    let machine = machines.find("one").expect("a machine");
    (machine.spec.config.cmdline, machine.state)
}

#[test]
fn a_machine_becomes_all_of_it_wherever_others_were_killed() {
    type Step = fn(&Path);
    let steps: [Step; 5] = [
        |_| (),
        |folder| fs::remove_file(folder.join(SUSPENDED_FILE)).expect("file"),
        |folder| forget_suspension(folder).expect("forgotten"),
        |folder| {
            fs::hard_link(folder.join(RESTORED).join(LAYER), folder.join(LAYER)).expect("link")
        },
        |folder| {
            let from = folder.join(RESTORED).join(SPEC_FILE);
            fs::rename(from, folder.join(SPEC_FILE)).expect("renamed");
        },
    ];
    for done in 0..=steps.len() {
        let (_home, machines) = home();
        let folder = prepare(&machines, true);
        steps[..done].iter().for_each(|step| step(&folder));
        for _ in 0..2 {
            let (words, state) = look(&machines);
            assert_eq!(words, NEW, "after {done} steps");
            assert!(state.is_suspended(), "after {done} steps");
        }
        assert!(!folder.join(SUSPENDED_FILE).exists());
        assert!(!folder.join(STATE).exists());
        let memory = memory_folder(&folder);
        assert_eq!(fs::read_to_string(memory.join(STATE)).expect("file"), NEW);
        assert_eq!(fs::read_to_string(folder.join(LAYER)).expect("file"), NEW);
    }
}

#[test]
fn a_machine_that_runs_is_what_it_was() {
    let (_home, machines) = home();
    let folder = prepare(&machines, true);
    let lock = machines.claim(&folder).expect("lock").expect("free");
    assert_eq!(look(&machines), (OLD.to_owned(), State::Starting));
    drop(lock);
    assert_eq!(look(&machines).0, NEW);
}

#[test]
fn of_disks_alone_nothing_stays() {
    let (_home, machines) = home();
    let folder = prepare(&machines, false);
    let (words, state) = look(&machines);
    assert_eq!((words.as_str(), state), (NEW, State::Created));
    assert!(!folder.join("restored-1").exists());
    assert!(fs::symlink_metadata(folder.join(RESTORED)).is_err());
}

#[test]
fn what_others_left_is_removed_but_for_what_counts() {
    let (_home, machines) = home();
    let folder = prepare(&machines, true);
    fs::create_dir(folder.join("restored-2")).expect("folder");
    symlink("restored-2", folder.join(NEW_LINK)).expect("link");
    let at_work = Lock::acquire(&folder.join(snapshot::LOCK), || ()).expect("lock");
    clear_left(&folder).expect("nothing is done");
    assert!(folder.join("restored-2").exists());
    drop(at_work);
    clear_left(&folder).expect("cleared");
    assert!(!folder.join("restored-2").exists());
    assert!(fs::symlink_metadata(folder.join(NEW_LINK)).is_err());
    assert!(folder.join("restored-1").exists());
    forget(&folder).expect("forgotten");
    assert!(!folder.join("restored-1").exists());
}
