//! Machines for tests.

use std::path::PathBuf;

use clade_vmm::spec::{MachineConfig, MachineSpec};
use tempfile::TempDir;

use crate::{Machine, Machines, State};

/// Folders with no machine in them, which last as long as the first value.
pub(crate) fn home() -> (TempDir, Machines) {
    let home = tempfile::tempdir().expect("folder");
    let machines = Machines::in_folders(home.path().join("machines"), home.path().join("run"));
    (home, machines.expect("machines"))
}

pub(crate) fn spec(name: &str, id: &str) -> MachineSpec {
    MachineSpec {
        id: id.to_owned(),
        name: name.to_owned(),
        image: None,
        origin: None,
        mac: None,
        unsettled: None,
        created: 0,
        temporary: false,
        config: MachineConfig::default(),
    }
}

/// A machine that is nowhere.
pub(crate) fn machine(name: &str, id: &str) -> Machine {
    let (_, machines) = home();
    Machine {
        spec: spec(name, id),
        state: State::Created,
        folder: PathBuf::new(),
        machines,
        record: None,
    }
}
