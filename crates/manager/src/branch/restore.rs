//! Machines that go on from a snapshot.

use std::path::Path;
use std::process::Command;

use clade_store::FileName;
use clade_store::snapshots::{Manifest, Snapshot};
use clade_vmm::control::Connection;
use clade_vmm::saved::Saved;
use clade_vmm::spec::{MachineConfig, MachineSpec, OriginSpec, Unsettled};

use super::code_cache;
use super::disks::NewTops;
use super::files;
use super::restored::{self, Restoration};
use crate::create::check_host;
use crate::names::new_id;
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

    /// Makes sure that a machine can go on from it here, before another state is given up for it.
    fn check_usable(&self) -> Result<(), Error> {
        check_host(&self.spec.config)?;
        let saved = self.saved().map(Saved::open);
        saved.transpose().map(drop).map_err(Error::Branch)
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
pub(super) fn is_state(name: &FileName) -> bool {
    use clade_store::snapshots::{CODE_CACHE, MEMORY_INDEX, STATE};
    [MEMORY_INDEX, STATE, CODE_CACHE].contains(&name.as_str())
}

impl Machine {
    /// Makes the machine what it was at `snapshot`: what it has been since is gone, unless a snapshot
    /// has it. It runs then, if its memory was kept; otherwise it is as if its power had been cut at that
    /// time, and `None` is returned. Whoever is killed at it leaves the machine as it was, perhaps
    /// paused, or suspended as it is to be.
    ///
    /// # Errors
    /// [`Error::Busy`] if it is about to run, and when the snapshot is damaged. The machine is then as it
    /// was. If what it has become cannot run, it is suspended.
    pub fn restore(
        &self,
        snapshot: &Snapshot,
        program: Command,
    ) -> Result<Option<(Started, Connection)>, Error> {
        let source = Source::of(snapshot)?;
        source.check_usable()?;
        let _alone = self.branch_lock()?;
        let (_still, now) = self.held_still()?;
        let id = new_id().map_err(Error::io("read randomness for", &now.folder))?;
        let spec = MachineSpec {
            config: source.spec.config.clone(),
            origin: Some(source.origin.clone()),
            unsettled: source.unsettled(),
            ..now.spec.clone()
        };
        let restoration = Restoration::prepare(&now.folder, &id, (snapshot, &source), spec)?;
        now.become_restored(restoration)?;
        // Whoever looks at it finishes what is left to do.
        let now = self.refresh()?.ok_or_else(|| self.gone())?;
        if source.saved().is_some() {
            return now.resume_suspended(program).map(Some);
        }
        let (now, _lock) = now.take_to_start()?;
        now.clear_unneeded(&now.spec, &[])?;
        Ok(None)
    }

    /// Commits it, between the last moment of what the machine was and the first of what it will be.
    fn become_restored(&self, restoration: Restoration<'_>) -> Result<(), Error> {
        // One that does not answer can be ended all the same.
        let paused = self.state.is_live() && self.pause().unwrap_or(false);
        if let Err(error) = restoration.commit() {
            if paused {
                self.let_go_on()?;
            }
            return Err(error);
        }
        self.end_process()?;
        restored::sweep(&self.folder)
    }

    /// Removes what the machine, which does not run, no longer has: layers of disks that `spec` does
    /// not need, and those of memory that are not among `memory`.
    pub(crate) fn clear_unneeded(
        &self,
        spec: &MachineSpec,
        memory: &[FileName],
    ) -> Result<(), Error> {
        restored::clear_left(&self.folder)?;
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
