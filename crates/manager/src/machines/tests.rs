use clade_vmm::outcome::Outcome;
use clade_vmm::record::{EndRecord, RECORD_FILE, host_boot};
use clade_vmm::spec::MachineConfig;

use super::*;
use crate::Order;
use crate::testing::{home, spec};

/// A machine's folder with its lock, held.
fn make(machines: &Machines, spec: &MachineSpec) -> File {
    let folder = machines.folder().join(&spec.name);
    fs::create_dir(&folder).expect("folder");
    write_spec(&folder, spec).expect("spec");
    machines.claim(&folder).expect("lock").expect("free")
}

fn record(machines: &Machines, name: &str, end: Option<Outcome>) {
    let record = LifeRecord {
        pid: 1,
        host_boot: host_boot(),
        started: 100,
        sockets: machines.sockets(name),
        end: end.map(|outcome| EndRecord { at: 200, outcome }),
    };
    let text = serde_json::to_vec(&record).expect("record");
    fs::write(machines.folder().join(name).join(RECORD_FILE), text).expect("record");
}

fn names(machines: &Machines) -> Vec<String> {
    let machines = machines.list().expect("list");
    machines.into_iter().map(|one| one.spec.name).collect()
}

fn order(name: Option<&str>) -> Order {
    Order {
        name: name.map(str::to_owned),
        image: None,
        temporary: false,
        config: MachineConfig::default(),
    }
}

#[test]
fn a_machine_outlives_its_process_unless_it_is_temporary() {
    let (_home, machines) = home();
    let kept = make(&machines, &spec("kept", "0"));
    let temporary = MachineSpec {
        temporary: true,
        ..spec("passing", "1")
    };
    let passing = make(&machines, &temporary);
    assert_eq!(names(&machines), ["kept", "passing"]);
    drop((kept, passing));
    assert_eq!(names(&machines), ["kept"]);
    assert!(!machines.folder().join("passing").exists());
}

#[test]
fn what_was_left_half_done_is_cleared_away() {
    let (_home, machines) = home();
    let folder = |name: &str| machines.folder().join(name);
    for name in [".new-aa", ".gone-bb", "without-spec"] {
        fs::create_dir(folder(name)).expect("folder");
        fs::write(folder(name).join("root.qcow2"), "blocks").expect("file");
    }
    // This one is being made or removed at this moment.
    fs::create_dir(folder("at-work")).expect("folder");
    let lock = machines.claim(&folder("at-work")).expect("lock");
    assert_eq!(names(&machines), [""; 0]);
    for name in [".new-aa", ".gone-bb", "without-spec"] {
        assert!(!folder(name).exists(), "{name}");
    }
    assert!(folder("at-work").exists());
    drop(lock);
    assert_eq!(names(&machines), [""; 0]);
    assert!(!folder("at-work").exists());
}

#[test]
fn the_sockets_of_a_killed_process_are_cleared_away() {
    let (home, machines) = home();
    let lock = make(&machines, &spec("one", "one"));
    record(&machines, "one", None);
    fs::create_dir(machines.sockets("one")).expect("folder");
    names(&machines);
    assert!(machines.sockets("one").exists());
    drop(lock);
    names(&machines);
    assert!(!machines.sockets("one").exists());
    // Whatever a record says, nothing else is.
    let mine = home.path().join("mine");
    fs::create_dir(&mine).expect("folder");
    let text = fs::read_to_string(machines.folder().join("one").join(RECORD_FILE));
    let text = text.expect("record").replace(
        &machines.sockets("one").display().to_string(),
        &mine.display().to_string(),
    );
    fs::write(machines.folder().join("one").join(RECORD_FILE), text).expect("record");
    names(&machines);
    assert!(mine.exists());
}

#[test]
fn a_spec_of_another_version_is_told_of_and_can_be_removed() {
    let (_home, machines) = home();
    drop(make(&machines, &spec("good", "0")));
    drop(make(&machines, &spec("odd", "1")));
    fs::write(machines.folder().join("odd").join(SPEC_FILE), "{\"id\": 1}").expect("spec");
    fs::write(machines.folder().join("stray file"), "").expect("file");
    let survey = machines.survey().expect("survey");
    assert_eq!(survey.machines.len(), 1);
    assert_eq!(survey.unreadable[0].name, "odd");
    assert!(matches!(
        machines.find("odd"),
        Err(Error::Unreadable { .. })
    ));
    assert!(matches!(
        machines.check_free("odd"),
        Err(Error::NameTaken { .. })
    ));
    assert!(machines.remove_unreadable("good").is_err());
    machines.remove_unreadable("odd").expect("removed");
    assert!(!machines.folder().join("odd").exists());
}

#[test]
fn a_draft_is_nobodys_until_it_is_started_and_leaves_nothing_behind() {
    let (home, machines) = home();
    let image = home.path().join("image");
    fs::write(&image, "blocks").expect("file");
    let draft = machines.create(order(Some("web"))).expect("draft");
    assert_eq!(names(&machines), [""; 0]);
    assert!(draft.folder().exists(), "a draft is not cleared away");
    let taken = machines.create(order(Some("web"))).expect_err("taken");
    assert!(matches!(taken, Error::NameTaken { .. }), "{taken}");
    let kept = draft.keep(&image, "base.img").expect("kept");
    assert_eq!(kept, Path::new("base.img"));
    fs::remove_file(&image).expect("remove");
    let here = fs::read_to_string(draft.folder().join(kept));
    assert_eq!(here.expect("the machine's own"), "blocks");
    assert!(draft.keep(&image, "missing").is_err());
    let folder = draft.folder().to_owned();
    drop(draft);
    assert!(!folder.exists());
    assert_ne!(
        machines.create(order(None)).expect("draft").spec().name,
        machines.create(order(None)).expect("draft").spec().name
    );
}

#[test]
fn only_a_machine_that_does_not_run_is_removed_or_renamed() {
    let (_home, machines) = home();
    let lock = make(&machines, &spec("one", "0"));
    drop(make(&machines, &spec("two", "1")));
    let one = machines.find("one").expect("found");
    assert!(matches!(machines.remove(&one), Err(Error::Busy { .. })));
    assert!(matches!(
        machines.rename(&one, "three"),
        Err(Error::Busy { .. })
    ));
    drop(lock);
    assert!(matches!(
        machines.rename(&one, "two"),
        Err(Error::NameTaken { .. })
    ));
    assert!(matches!(
        machines.rename(&one, "../two"),
        Err(Error::BadName { .. })
    ));
    machines.rename(&one, "three").expect("renamed");
    assert_eq!(names(&machines), ["three", "two"]);
    let three = machines.find("three").expect("found");
    assert_eq!(three.spec.id, "0");
    machines.remove(&three).expect("removed");
    machines.remove(&three).expect("removed already");
    assert_eq!(names(&machines), ["two"]);
    assert!(!machines.folder().join("three").exists());
}

#[test]
fn a_crash_in_a_rename_leaves_the_folders_name() {
    let (_home, machines) = home();
    drop(make(&machines, &spec("one", "0")));
    fs::rename(machines.folder().join("one"), machines.folder().join("two")).expect("rename");
    assert_eq!(names(&machines), ["two"]);
}

#[test]
fn a_name_in_use_says_by_whom() {
    let (_home, machines) = home();
    let lock = make(&machines, &spec("one", "one"));
    record(&machines, "one", Some(Outcome::PowerOff));
    let text = || machines.check_free("one").expect_err("taken").to_string();
    assert!(text().contains("clade console one"), "{}", text());
    drop(lock);
    let stopped = text();
    for remedy in ["clade start one", "clade rm one", "has stopped"] {
        assert!(stopped.contains(remedy), "{stopped}");
    }
}
