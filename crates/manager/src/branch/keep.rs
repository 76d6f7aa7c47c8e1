//! Having a running machine keep itself: it is given open files, and writes to them.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::time::Duration;

use clade_store::FileName;
use clade_vmm::control::{Connection, Event, MemoryOrder, Request, SnapshotOrder};
use clade_vmm::machine::Taken;

use super::code_cache;
use crate::machine::Next;
use crate::{Error, Machine};

/// A machine that says nothing for so long while it is being kept has come to grief: it tells of each
/// few megabytes.
const PATIENCE: Duration = Duration::from_secs(120);

/// The files in which a machine is to keep itself.
pub(super) struct Files {
    pub(super) memory: Option<MemoryFiles>,
    pub(super) tops: Vec<Option<(PathBuf, File)>>,
}

/// Those for memory, devices and vCPUs.
pub(super) struct MemoryFiles {
    /// What the layer is called.
    pub(super) name: FileName,
    pub(super) layer: File,
    /// Earlier layers that are still there.
    pub(super) layers: Vec<FileName>,
    pub(super) index: File,
    pub(super) state: File,
}

/// A machine was not kept.
pub(super) struct NotKept {
    pub(super) error: Error,
    /// Which disks' new layers are in use all the same; `None` if that is not known.
    pub(super) switched: Option<Vec<bool>>,
}

impl From<Error> for NotKept {
    fn from(error: Error) -> Self {
        Self {
            error,
            switched: None,
        }
    }
}

impl Machine {
    /// Has the machine, which runs and is at the far end of `connection`, keep itself as it is at one
    /// instant, with a new code cache in its folder where that is worth it. `progress` is told of the
    /// bytes of memory that were written so far.
    pub(super) fn keep(
        &self,
        connection: &mut Connection,
        files: &Files,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Taken, NotKept> {
        let code_cache = files.memory.as_ref();
        let code_cache = code_cache.map(|_| code_cache::create(&self.folder));
        let code_cache = code_cache.transpose().map_err(|error| NotKept {
            error,
            switched: Some(Vec::new()),
        })?;
        let kept = self.keep_in_files(connection, files, code_cache.as_ref(), progress);
        let is_new = kept.as_ref().is_ok_and(|taken| taken.code_cache);
        code_cache::finish(&self.folder, is_new);
        kept
    }

    fn keep_in_files(
        &self,
        connection: &mut Connection,
        files: &Files,
        code_cache: Option<&File>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Taken, NotKept> {
        let nothing = |error| NotKept {
            error,
            switched: Some(Vec::new()),
        };
        let path = |top: &Option<(PathBuf, File)>| top.as_ref().map(|(path, _)| path.clone());
        let order = SnapshotOrder {
            memory: files.memory.as_ref().map(|memory| MemoryOrder {
                layer: memory.name.clone(),
                layers: memory.layers.clone(),
                has_code_cache: code_cache::is_there(&self.folder),
            }),
            tops: files.tops.iter().map(path).collect(),
        };
        self.tell(connection, &Request::Snapshot(order))
            .map_err(nothing)?;
        self.take_files(
            connection,
            &files.descriptors(code_cache),
            |event| match event {
                Event::SnapshotProgress { pages } => {
                    progress(pages * clade_store::memory::PAGE as u64);
                    None
                }
                Event::SnapshotTaken(taken) => Some(Ok(taken)),
                Event::SnapshotFailed { reason, switched } => Some(Err(NotKept {
                    error: Error::CannotKeep {
                        name: self.spec.name.clone(),
                        reason,
                    },
                    switched: Some(switched),
                })),
                _ => None,
            },
        )?
    }

    /// Gives the machine the files that it asks for, and waits for what `wanted` finds among its events.
    ///
    /// # Errors
    /// When the machine ends, or has nothing to say for too long.
    pub(super) fn take_files<T>(
        &self,
        connection: &mut Connection,
        files: &[BorrowedFd<'_>],
        mut wanted: impl FnMut(Event) -> Option<T>,
    ) -> Result<T, Error> {
        loop {
            let reason = match self.next_event(connection, PATIENCE)? {
                Next::Event(Event::SendFiles) => {
                    let sent = connection.sender.files(files);
                    sent.map_err(|error| self.no_answer(error.to_string()))?;
                    continue;
                }
                Next::Event(event) => match wanted(event) {
                    Some(found) => return Ok(found),
                    None => continue,
                },
                Next::Gone => "it has ended meanwhile",
                Next::Silence => "it takes too long",
            };
            return Err(self.no_answer(reason.to_owned()));
        }
    }
}

impl Files {
    /// In the order in which the machine expects them.
    fn descriptors<'a>(&'a self, code_cache: Option<&'a File>) -> Vec<BorrowedFd<'a>> {
        let memory = self.memory.iter();
        let memory = memory.flat_map(|memory| [&memory.layer, &memory.index, &memory.state]);
        let tops = self.tops.iter().flatten().map(|(_, file)| file);
        memory
            .chain(code_cache)
            .chain(tops)
            .map(AsFd::as_fd)
            .collect()
    }
}
