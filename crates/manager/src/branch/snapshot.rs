//! Taking a snapshot.

use std::fs;

use clade_store::Lock;
use clade_store::snapshots::{Details, DraftSnapshot, MEMORY_INDEX, Origin, STATE, Snapshot};
use clade_vmm::machine::Taken;
use clade_vmm::spec::{MachineSpec, OriginSpec};

use super::code_cache;
use super::disks::{self, NewTops};
use super::files::{self, name_of};
use super::keep::{Files, MemoryFiles, NotKept};
use crate::machines::write_spec;
use crate::{Error, Machine, Snapshots};

/// The file in a machine's folder whose lock whoever takes a snapshot of it holds.
pub(super) const LOCK: &str = "branch.lock";

/// What snapshot is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// What its user calls it.
    pub tag: Option<String>,
    /// The disks alone are kept, as if the machine's power had been cut.
    pub disks_only: bool,
}

/// A machine's state that is whole, and not yet a snapshot.
pub(super) struct Kept {
    pub(super) draft: DraftSnapshot,
    /// The machine as it was then.
    pub(super) spec: MachineSpec,
    /// `None` if only its disks were kept.
    pub(super) taken: Option<Taken>,
}

impl Kept {
    fn details(&self, name: Option<String>) -> Result<Details, Error> {
        let (spec, taken) = (&self.spec, self.taken.as_ref());
        Ok(Details {
            name,
            origin: Origin {
                id: spec.id.clone(),
                name: spec.name.clone(),
            },
            parent: spec.parent_snapshot().map(name_of).transpose()?,
            config: files::to_value(spec)?,
            memory_bytes: taken.map(|_| spec.config.memory),
            pause_ns: taken.map_or(0, |taken| taken.pause.as_nanos() as u64),
        })
    }
}

impl Machine {
    /// Keeps the machine as it is at this instant. It may run, and then goes on; the disks of one that
    /// has stopped are kept. `progress` is told of the bytes of memory that were written so far.
    ///
    /// # Errors
    /// [`Error::CannotKeep`] for a machine that has what no snapshot can have, and when something
    /// cannot be written: the machine is then as it was.
    pub fn snapshot(
        &self,
        snapshots: &Snapshots,
        options: SnapshotOptions,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Snapshot, Error> {
        let kept = self.keep_in(snapshots, options.disks_only, progress)?;
        self.commit(kept, options.tag, DraftSnapshot::commit)
    }

    /// Completes what was kept by `commit`. The machine is the same as it from now on.
    pub(super) fn commit(
        &self,
        mut kept: Kept,
        name: Option<String>,
        commit: impl FnOnce(DraftSnapshot, Details) -> Result<Snapshot, clade_store::Error>,
    ) -> Result<Snapshot, Error> {
        // Of what they share, nothing need be read again.
        let known = self.machines.kept()?;
        let records = known.iter().flat_map(|one| one.manifest.files.values());
        kept.draft.know(records.copied());
        let details = kept.details(name)?;
        let snapshot = commit(kept.draft, details)?;
        self.same_as(&snapshot)?;
        Ok(snapshot)
    }

    /// From now on the machine's origin is this snapshot.
    fn same_as(&self, snapshot: &Snapshot) -> Result<(), Error> {
        self.change_spec(|spec| {
            spec.origin = Some(OriginSpec {
                snapshot: Some(snapshot.manifest.id.to_string()),
                machine: spec.id.clone(),
            });
        })?;
        Ok(())
    }

    /// Keeps the machine in a draft.
    pub(super) fn keep_in(
        &self,
        snapshots: &Snapshots,
        disks_only: bool,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Kept, Error> {
        disks::check(&self.spec)?;
        let _alone = self.branch_lock()?;
        let Some(now) = self.begun()? else {
            return Err(self.gone());
        };
        let draft = snapshots.begin()?;
        if now.state.is_live() {
            now.keep_running(draft, disks_only, progress)
        } else {
            now.keep_stopped(draft, disks_only)
        }
    }

    /// Keeps others from branching the machine meanwhile.
    pub(super) fn branch_lock(&self) -> Result<Lock, Error> {
        Ok(Lock::acquire(&self.folder.join(LOCK), || ())?)
    }

    fn keep_running(
        &self,
        draft: DraftSnapshot,
        disks_only: bool,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Kept, Error> {
        // Who answers now has the disks that the spec names, and not those that are to come.
        let mut connection = self.connect()?;
        // A suspension that came to nothing: its layers are not to be kept.
        self.forget_suspended()?;
        let id = draft.id().to_string();
        let (tops, mut spec) = self.add_tops(&id, |_| Ok(()))?;
        let memory = if disks_only {
            None
        } else {
            let memory = self.memory_files(&draft, &id);
            Some(memory.inspect_err(|_| self.undo(&tops, &id, &[]))?)
        };
        let files = Files {
            memory,
            tops: tops.open(&self.folder)?,
        };
        let kept = self.keep(&mut connection, &files, progress);
        let taken = kept.map_err(|failed| {
            let NotKept { error, switched } = failed;
            // Where it is not known what became of them, they stay: empty, they do no harm.
            if let Some(switched) = switched {
                self.undo(&tops, &id, &switched);
            }
            error
        })?;
        self.link_files(&draft, &tops, &mut spec)?;
        if !disks_only {
            for layer in &taken.layers {
                draft.link(&self.folder.join(layer), layer)?;
            }
            files::drop_layers(&self.folder, &taken.layers)?;
            code_cache::give(&self.folder, draft.folder());
        }
        Ok(Kept {
            draft,
            spec,
            taken: (!disks_only).then_some(taken),
        })
    }

    /// A machine that does not run: what it has on disk, with its memory if it is suspended.
    fn keep_stopped(&self, draft: DraftSnapshot, disks_only: bool) -> Result<Kept, Error> {
        let id = draft.id().to_string();
        // Nobody starts it before all is linked.
        let mut claimed = None;
        let (tops, mut spec) = self.add_tops(&id, |now| {
            claimed = self.machines.claim(&now.folder)?;
            claimed.as_ref().map(|_| ()).ok_or_else(|| Error::Busy {
                name: now.spec.name.clone(),
                state: now.state.described(),
            })
        })?;
        self.link_files(&draft, &tops, &mut spec)?;
        let taken = if !disks_only && self.state.is_suspended() {
            Some(self.link_suspended(&draft)?)
        } else {
            None
        };
        drop(claimed);
        Ok(Kept { draft, spec, taken })
    }

    /// Gives `draft` the machine's files, and makes `spec` the machine as it was below `tops`.
    fn link_files(
        &self,
        draft: &DraftSnapshot,
        tops: &NewTops,
        spec: &mut MachineSpec,
    ) -> Result<(), Error> {
        spec.config.disks = tops.before().to_vec();
        for name in files::of_config(&self.folder, &spec.config)? {
            draft.link(&self.folder.join(&name), &name)?;
        }
        Ok(())
    }

    fn memory_files(&self, draft: &DraftSnapshot, id: &str) -> Result<MemoryFiles, Error> {
        let layers = files::layers(&self.folder)?;
        let name = files::layer_name(id)?;
        let layer = files::create(&self.folder.join(&name))?;
        Ok(MemoryFiles {
            name,
            layer,
            layers,
            index: draft.create(&name_of(MEMORY_INDEX)?)?,
            state: draft.create(&name_of(STATE)?)?,
        })
    }

    /// Puts empty layers above the machine's disks in its spec: until somebody writes to them, all is
    /// as it was. Returns them, and the machine's spec. Nothing is done if `may`, which is given the
    /// machine as it is, disagrees.
    fn add_tops(
        &self,
        id: &str,
        may: impl FnOnce(&Machine) -> Result<(), Error>,
    ) -> Result<(NewTops, MachineSpec), Error> {
        let mut tops = None;
        let spec = self.change_spec_if(|now, spec| {
            may(now)?;
            let made = NewTops::create(&self.folder, id, &mut spec.config.disks)?;
            made.sync(&self.folder)?;
            clade_store::sync_folder(&self.folder)?;
            tops = Some(made);
            Ok(())
        })?;
        let tops = tops.ok_or_else(|| Error::Branch("no layers were made".to_owned()))?;
        Ok((tops, spec))
    }

    /// Takes the layers off again that are not in use, and what was begun of memory.
    fn undo(&self, tops: &NewTops, id: &str, switched: &[bool]) {
        let changed = self.change_spec_if(|now, spec| {
            // Another life may have begun with the layers: empty or not, they stay.
            if now.state != self.state {
                return Err(self.not_running());
            }
            tops.take_off(switched, &mut spec.config.disks);
            Ok(())
        });
        // If the spec cannot be written, they stay, too.
        if let Ok(spec) = changed {
            tops.remove_unused(&self.folder, &spec.config.disks);
        }
        if let Ok(layer) = files::layer_name(id) {
            let _ = fs::remove_file(self.folder.join(layer));
        }
    }

    /// Changes the machine's spec, whether it runs or not.
    pub(super) fn change_spec(
        &self,
        change: impl FnOnce(&mut MachineSpec),
    ) -> Result<MachineSpec, Error> {
        self.change_spec_if(|_, spec| {
            change(spec);
            Ok(())
        })
    }

    pub(super) fn change_spec_if(
        &self,
        change: impl FnOnce(&Machine, &mut MachineSpec) -> Result<(), Error>,
    ) -> Result<MachineSpec, Error> {
        let _all = self.machines.lock()?;
        let Some(now) = self.machines.again_locked(self)? else {
            return Err(self.gone());
        };
        let mut spec = now.spec.clone();
        change(&now, &mut spec)?;
        if spec != now.spec {
            write_spec(&now.folder, &spec)?;
        }
        Ok(spec)
    }
}
