//! Machines that are on disk, with their memory, until they are resumed.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use clade_store::digest::{FileRecord, KnownFiles};
use clade_store::sealed::{self, Document};
use clade_store::snapshots::{DraftSnapshot, MEMORY_INDEX, STATE, Snapshot};
use clade_store::{FileName, Lock};
use clade_vmm::control::Connection;
use clade_vmm::folder::SUSPENDED_FILE;
use clade_vmm::machine::Taken;
use clade_vmm::spec::SPEC_FILE;
use serde::{Deserialize, Serialize};

use super::code_cache;
use super::disks;
use super::files::{self, layer_name, name_of};
use super::keep::{Files, MemoryFiles};
use super::restore::is_state;
use super::restored;
use super::settle::lose_time;
use crate::machines::write_spec;
use crate::names::new_id;
use crate::start::launch;
use crate::{Error, Machine, Started, State};

/// The file in a machine's folder whose lock whoever suspends it or lets it go on holds. It is not
/// that of [`Machine::branch_lock`], which is held for as long as a snapshot is written.
const STILL_LOCK: &str = "still.lock";

/// What becomes of the mark of a suspended machine when it goes on: its layers of memory are those that
/// it is suspended with the next time, but for what it writes.
const EARLIER_FILE: &str = "was-suspended.json";

/// What a suspended machine has in its folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Suspended {
    files: Vec<(FileName, FileRecord)>,
    layers: Vec<FileName>,
}

impl Document for Suspended {
    const KIND: &'static str = "suspended machine";
    const VERSION: u32 = 1;
}

impl Suspended {
    /// A machine that has the memory of a snapshot.
    pub(super) fn of_snapshot(snapshot: &Snapshot) -> Self {
        let files = snapshot.manifest.files.iter();
        let of_memory = files.filter(|(name, _)| files::is_layer(name) || is_state(name));
        let files: Vec<_> = of_memory
            .map(|(name, record)| (name.clone(), *record))
            .collect();
        let names = files.iter().map(|(name, _)| name);
        Self {
            layers: names
                .filter(|name| files::is_layer(name))
                .cloned()
                .collect(),
            files,
        }
    }
}

impl Machine {
    /// Writes the machine to disk and ends its process, so that it goes on from there, also after the
    /// host was restarted. `progress` is told of the bytes of memory that were written so far.
    ///
    /// # Errors
    /// When it does not run, or cannot be kept; then it runs on.
    pub fn suspend(&self, progress: &mut dyn FnMut(u64)) -> Result<(), Error> {
        disks::check(&self.spec)?;
        let _alone = self.branch_lock()?;
        let (_still, now) = self.held_still()?;
        if now.state.is_suspended() {
            return Ok(());
        }
        let was_paused = !now.pause()?;
        // What a dying `clade suspend` left.
        now.forget_suspended()?;
        let written = now.write_suspended(progress);
        if written.is_err() {
            now.forget_suspended()?;
            if !was_paused {
                now.end_pause()?;
            }
        }
        written?;
        now.end_process()?;
        Ok(())
    }

    /// The machine as it is, while nobody else suspends or restores it or lets it go on.
    pub(super) fn held_still(&self) -> Result<(Lock, Machine), Error> {
        let still = Lock::acquire(&self.folder.join(STILL_LOCK), || ())?;
        let now = self.begun()?.ok_or_else(|| self.gone())?;
        Ok((still, now))
    }

    /// Of a machine that stands still.
    fn write_suspended(&self, progress: &mut dyn FnMut(u64)) -> Result<(), Error> {
        let folder = &self.folder;
        let id = new_id().map_err(Error::io("read randomness for", folder))?;
        let layer = layer_name(&id)?;
        let layers = files::layers(folder)?;
        let create = |name: &FileName| {
            let path = folder.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Error::io("remove", &path)(error));
                }
                _ => {}
            }
            files::create(&path)
        };
        let (index, state) = (name_of(MEMORY_INDEX)?, name_of(STATE)?);
        let keep = Files {
            memory: Some(MemoryFiles {
                name: layer.clone(),
                layer: create(&layer)?,
                layers,
                index: create(&index)?,
                state: create(&state)?,
            }),
            tops: self.spec.config.disks.iter().map(|_| None).collect(),
        };
        let kept = self.keep(&mut self.connect()?, &keep, progress);
        let taken = kept.map_err(|failed| {
            let _ = fs::remove_file(folder.join(&layer));
            failed.error
        })?;
        let known = self.known_files();
        let mut records = Vec::new();
        for name in taken.layers.iter().chain([&index, &state]) {
            let path = folder.join(name);
            let file = File::open(&path).map_err(Error::io("open", &path))?;
            let record = known
                .seal(&file)
                .map_err(|error| Error::Branch(format!("{}: {error}", path.display())))?;
            records.push((name.clone(), record));
        }
        let suspended = Suspended {
            files: records,
            layers: taken.layers.clone(),
        };
        if self.spec.temporary {
            // It was not thought to last.
            let path = folder.join(SPEC_FILE);
            let spec = File::open(&path).map_err(Error::io("open", &path))?;
            spec.sync_all().map_err(Error::io("sync", &path))?;
            clade_store::sync_folder(self.machines.folder())?;
        }
        sealed::write(&folder.join(SUSPENDED_FILE), &suspended)?;
        files::drop_layers(folder, &taken.layers)
    }

    /// Files that the machine may have in its folder from when it was last suspended, or went on from
    /// a snapshot. What cannot be found out is not known.
    fn known_files(&self) -> KnownFiles {
        let mut known = KnownFiles::default();
        if let Ok(earlier) = sealed::read::<Suspended>(&self.folder.join(EARLIER_FILE)) {
            known.know(earlier.files.into_iter().map(|(_, record)| record));
        }
        let origin = self.spec.parent_snapshot();
        let snapshot = origin.and_then(|id| {
            let id = FileName::new(id).ok()?;
            self.machines.snapshots().ok()?.get(&id).ok()?
        });
        if let Some(snapshot) = snapshot {
            known.know(snapshot.manifest.files.into_values());
        }
        known
    }

    /// Lets the machine go on if it is suspended or paused. One that was suspended is started, as by
    /// [`Machine::start`], and returned.
    ///
    /// # Errors
    /// [`Error::NotRunning`] if it is neither and does not run, and when what was kept of it is damaged;
    /// it then stays as it is.
    pub fn resume(&self, program: Command) -> Result<Option<(Started, Connection)>, Error> {
        let (_still, now) = self.held_still()?;
        if now.state.is_suspended() {
            return now.resume_suspended(program).map(Some);
        }
        now.let_go_on()?;
        Ok(None)
    }

    /// Lets a machine that was paused go on. Returns whether it was paused.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume_running(&self) -> Result<bool, Error> {
        let (_still, now) = self.held_still()?;
        now.let_go_on()
    }

    pub(super) fn let_go_on(&self) -> Result<bool, Error> {
        // Whoever was about to suspend it may have died on the way.
        if matches!(self.state, State::Running { .. }) {
            self.forget_suspended()?;
        }
        self.end_pause()
    }

    /// What is kept of it, and in which folder.
    fn suspended(&self) -> Result<(PathBuf, Suspended), Error> {
        let folder = restored::memory_folder(&self.folder);
        let suspended = sealed::read(&folder.join(SUSPENDED_FILE))?;
        Ok((folder, suspended))
    }

    pub(super) fn resume_suspended(
        &self,
        program: Command,
    ) -> Result<(Started, Connection), Error> {
        let (saved, suspended) = self.suspended()?;
        for (name, record) in &suspended.files {
            record.check_path(&saved.join(name))?;
        }
        let (mut now, lock) = self.take_to_start()?;
        if now.spec.unsettled.is_none() {
            lose_time(&mut now.spec);
            write_spec(&now.folder, &now.spec)?;
        }
        if saved != now.folder {
            now.clear_unneeded(&now.spec, &suspended.layers)?;
        }
        now.merge_layers();
        let saved = Some(saved.as_path());
        let started = launch(&self.machines, &now.spec, &now.folder, lock, program, saved)?;
        // Before its guest does anything: it goes on from there once.
        now.forget_suspended()?;
        Ok(started)
    }

    /// The files that a suspended machine goes on from, with what they were when they were written; `None`
    /// if it is not suspended.
    ///
    /// # Errors
    /// When their list is damaged.
    pub fn suspended_files(&self) -> Result<Option<Vec<(PathBuf, FileRecord)>>, Error> {
        if !self.state.is_suspended() {
            return Ok(None);
        }
        let (folder, suspended) = self.suspended()?;
        let files = suspended.files.into_iter();
        let files = files.map(|(name, record)| (folder.join(name), record));
        Ok(Some(files.collect()))
    }

    /// Gives up the memory of a machine that is suspended. Returns whether it was.
    pub(crate) fn discard_suspended(&self) -> Result<bool, Error> {
        if !self.state.is_suspended() {
            return Ok(false);
        }
        let _all = self.machines.lock()?;
        match self.machines.claim(&self.folder)? {
            Some(_lock) => self.forget_suspended().map(|()| true),
            // It has been resumed meanwhile.
            None => Ok(false),
        }
    }

    /// What was kept of its memory is no longer to be gone on from.
    pub(crate) fn forget_suspended(&self) -> Result<(), Error> {
        forget_suspension(&self.folder)?;
        restored::forget(&self.folder)
    }

    /// Gives a snapshot the memory that the machine is suspended with.
    pub(super) fn link_suspended(&self, draft: &DraftSnapshot) -> Result<Taken, Error> {
        let (folder, suspended) = self.suspended()?;
        for (name, record) in &suspended.files {
            let path = folder.join(name);
            record.check_path(&path)?;
            draft.link(&path, name)?;
        }
        code_cache::give(&self.folder, draft.folder());
        Ok(Taken {
            pause: Duration::ZERO,
            pages: 0,
            last_pages: 0,
            code_cache: false,
            layers: suspended.layers,
        })
    }
}

/// Removes the mark, for good, and then what only it needed.
pub(super) fn forget_suspension(folder: &Path) -> Result<(), Error> {
    match fs::rename(folder.join(SUSPENDED_FILE), folder.join(EARLIER_FILE)) {
        Ok(()) => clade_store::sync_folder(folder)?,
        // What belongs to it may be there, of somebody who was killed.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(Error::io("remove", folder.join(SUSPENDED_FILE))(error)),
    }
    for name in [STATE, MEMORY_INDEX] {
        let _ = fs::remove_file(folder.join(name));
    }
    Ok(())
}
