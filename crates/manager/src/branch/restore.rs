//! Machines that go on from a snapshot.

use std::path::Path;
use std::process::Command;

use clade_store::FileName;
use clade_store::snapshots::{Manifest, Snapshot};
use clade_vmm::control::Connection;
use clade_vmm::spec::{MachineConfig, MachineSpec, OriginSpec, Unsettled};

use super::code_cache;
use super::disks::NewTops;
use super::files;
use crate::machines::write_spec;
use crate::names::new_id;
use crate::start::launch;
use crate::{Error, Machine, Started};

/// What a machine can go on from: a folder with files, and what machine they are of.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) folder: &'a Path,
    pub(super) files: Vec<FileName>,
    pub(super) spec: MachineSpec,
    /// Whether its memory is there, and not its disks alone.
    pub(super) has_memory: bool,
    pub(super) origin: OriginSpec,
}

impl<'a> Source<'a> {
    /// A snapshot, all of whose files are checked.
    pub(super) fn of(snapshot: &'a Snapshot) -> Result<Self, Error> {
        snapshot.check()?;
        let manifest = &snapshot.manifest;
        Ok(Self {
            folder: snapshot.folder(),
            files: manifest.files.keys().cloned().collect(),
            spec: spec_of(manifest)?,
            has_memory: manifest.details.memory_bytes.is_some(),
            origin: OriginSpec {
                snapshot: Some(manifest.id.to_string()),
                machine: manifest.details.origin.id.clone(),
            },
        })
    }

    /// Gives the machine in `folder` all that is to be its own, with new layers above the disks, and
    /// returns what it then is made of.
    pub(super) fn give_to(&self, folder: &Path) -> Result<MachineConfig, Error> {
        for name in self.files.iter().filter(|name| !is_state(name)) {
            files::adopt(self.folder, folder, name)?;
        }
        code_cache::give(self.folder, folder);
        let mut config = self.spec.config.clone();
        let id = new_id().map_err(Error::io("read randomness for", folder))?;
        NewTops::create(folder, &id, &mut config.disks)?;
        Ok(config)
    }

    /// What the guest has to be told when the same machine goes on from it: what it did not know then,
    /// at least the time.
    pub(super) fn unsettled(&self) -> Option<Unsettled> {
        let before = self.spec.unsettled.clone();
        self.has_memory.then(|| before.unwrap_or(Unsettled::Clock))
    }

    /// Where the machine's process finds the state to go on from, if there is one.
    pub(super) fn saved(&self) -> Option<&Path> {
        self.has_memory.then_some(self.folder)
    }
}

/// The machine that a snapshot is of.
pub(super) fn spec_of(manifest: &Manifest) -> Result<MachineSpec, Error> {
    serde_json::from_value(manifest.details.config.clone()).map_err(|error| {
        Error::Branch(format!(
            "snapshot {} is of a machine that this version of Clade cannot make: {error}",
            manifest.id
        ))
    })
}

/// What is read once, when the machine goes on, and needs no name in its folder, or is given to it apart.
fn is_state(name: &FileName) -> bool {
    use clade_store::snapshots::{CODE_CACHE, MEMORY_INDEX, STATE};
    [MEMORY_INDEX, STATE, CODE_CACHE].contains(&name.as_str())
}

impl Machine {
    /// Makes the machine, which does not run, what it was at `snapshot`: what it has been since is
    /// gone, unless a snapshot has it. It runs then, if its memory was kept; otherwise it is as if its
    /// power had been cut at that time, and `None` is returned.
    ///
    /// # Errors
    /// [`Error::Busy`] if it runs, and when the snapshot is damaged. The machine is then as it was.
    pub fn restore(
        &self,
        snapshot: &Snapshot,
        program: Command,
    ) -> Result<Option<(Started, Connection)>, Error> {
        let source = Source::of(snapshot)?;
        let _alone = self.branch_lock()?;
        let all = self.machines.lock()?;
        let Some(now) = self.machines.again_locked(self)? else {
            return Err(self.gone());
        };
        let busy = || Error::Busy {
            name: now.spec.name.clone(),
            state: now.state.described(),
        };
        let lock = self.machines.claim(&now.folder)?.ok_or_else(busy)?;
        drop(all);
        let config = source.give_to(&now.folder)?;
        let spec = MachineSpec {
            config,
            origin: Some(source.origin.clone()),
            unsettled: source.unsettled(),
            ..now.spec.clone()
        };
        clade_store::sync_folder(&now.folder)?;
        now.forget_suspended()?;
        write_spec(&now.folder, &spec)?;
        now.clear_unneeded(&spec, &source.files)?;
        match source.saved() {
            Some(saved) => launch(
                &self.machines,
                &spec,
                &now.folder,
                lock,
                program,
                Some(saved),
            )
            .map(Some),
            None => Ok(None),
        }
    }

    /// Removes what the machine, which does not run, no longer has: layers of disks that `spec` does
    /// not need, and those of memory that are not among `memory`.
    pub(crate) fn clear_unneeded(
        &self,
        spec: &MachineSpec,
        memory: &[FileName],
    ) -> Result<(), Error> {
        files::drop_layers(&self.folder, memory)?;
        code_cache::clear(&self.folder, !memory.is_empty());
        let needed = files::of_config(&self.folder, &spec.config)?;
        let entries = std::fs::read_dir(&self.folder).map_err(Error::io("list", &self.folder))?;
        for entry in entries {
            let entry = entry.map_err(Error::io("list", &self.folder))?;
            let name = entry.file_name();
            let is_layer = Path::new(&name).extension() == Some("qcow2".as_ref());
            if is_layer && !needed.iter().any(|one| *one.as_str() == *name) {
                std::fs::remove_file(entry.path()).map_err(Error::io("remove", entry.path()))?;
            }
        }
        Ok(())
    }
}
