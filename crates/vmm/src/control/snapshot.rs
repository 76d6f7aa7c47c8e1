//! Keeping the machine for a client, in files that the client opens.

use std::fs::File;
use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use clade_store::FileName;
use serde::{Deserialize, Serialize};

use super::server::ControlServer;
use super::{Event, files};
use crate::machine::{MemoryFiles, SnapshotFiles};

/// What is said when there is no machine at the moment.
const NOT_NOW: &str = "the machine is just starting or ending";

/// How a machine is to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotOrder {
    /// How its memory is to be kept; without, its disks alone are.
    pub memory: Option<MemoryOrder>,
    /// The paths of new layers for its disks, in the disks' order. `None` leaves a disk as it is.
    pub tops: Vec<Option<PathBuf>>,
}

/// How a machine's memory is to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryOrder {
    /// The name of the new layer.
    pub layer: FileName,
    /// Earlier layers that are still there.
    pub layers: Vec<FileName>,
    /// Whether a code cache of before is still there.
    pub has_code_cache: bool,
}

impl SnapshotOrder {
    /// How many files the machine is to be sent: of memory the layer, the index, the state and the
    /// code cache, then the disks' new layers.
    pub fn files(&self) -> usize {
        let memory = if self.memory.is_some() { 4 } else { 0 };
        memory + self.tops.iter().flatten().count()
    }

    fn with(self, files: Vec<File>, guest_ready: bool) -> Option<SnapshotFiles> {
        let mut files = files.into_iter();
        let memory = match self.memory {
            Some(order) => Some(MemoryFiles {
                layer: files.next()?,
                index: files.next()?,
                state: files.next()?,
                code_cache: files.next()?,
                name: order.layer,
                layers: order.layers,
                has_code_cache: order.has_code_cache,
                guest_ready,
            }),
            None => None,
        };
        let tops = self.tops.into_iter().map(|path| match path {
            Some(path) => Some(Some((files.next()?, path))),
            None => Some(None),
        });
        let tops = tops.collect::<Option<_>>()?;
        Some(SnapshotFiles { memory, tops })
    }
}

impl ControlServer {
    /// Takes the files from the client behind `reader`, and keeps the machine in them.
    pub(super) fn snapshot(
        &self,
        reader: &BufReader<UnixStream>,
        consumer: u64,
        order: SnapshotOrder,
    ) {
        let mut switched = Vec::new();
        let event = match self.take_snapshot(reader, consumer, order, &mut switched) {
            Ok(event) => event,
            Err(reason) => Event::SnapshotFailed { reason, switched },
        };
        self.hub.post(consumer, event);
    }

    fn take_snapshot(
        &self,
        reader: &BufReader<UnixStream>,
        consumer: u64,
        order: SnapshotOrder,
        switched: &mut Vec<bool>,
    ) -> Result<Event, String> {
        let files = self.receive_files(reader, consumer, order.files())?;
        let files = order.with(files, self.hub.is_guest_ready());
        let (Some(files), Some(machine)) = (files, self.stop.machine()) else {
            return Err(NOT_NOW.to_owned());
        };
        let mut told = 0;
        let mut copied = |pages: u64| {
            // Not for every megabyte.
            if pages >= told + (16 << 20) / clade_engine::PAGE_SIZE {
                told = pages;
                self.hub.post(consumer, Event::SnapshotProgress { pages });
            }
        };
        machine
            .snapshot(files, switched, &mut copied)
            .map(Event::SnapshotTaken)
            .map_err(|error| error.to_string())
    }

    /// Takes a file from the client behind `reader`, and writes what the engine has made of the guest's code to
    /// it.
    pub(super) fn save_code_cache(&self, reader: &BufReader<UnixStream>, consumer: u64) {
        let event = match self.try_save_code_cache(reader, consumer) {
            Ok(written) => Event::CodeCacheSaved { written },
            Err(reason) => Event::Failed { reason },
        };
        self.hub.post(consumer, event);
    }

    fn try_save_code_cache(
        &self,
        reader: &BufReader<UnixStream>,
        consumer: u64,
    ) -> Result<bool, String> {
        let files = self.receive_files(reader, consumer, 1)?;
        let (Some(file), Some(machine)) = (files.first(), self.stop.machine()) else {
            return Err(NOT_NOW.to_owned());
        };
        let saved = machine.save_code_cache(file);
        saved.map_err(|error| error.to_string())
    }

    /// Asks the client behind `reader` for files; it sends nothing else before it was asked to.
    fn receive_files(
        &self,
        reader: &BufReader<UnixStream>,
        consumer: u64,
        count: usize,
    ) -> Result<Vec<File>, String> {
        self.hub.post(consumer, Event::SendFiles);
        files::receive(reader.get_ref(), count).map_err(|error| error.to_string())
    }
}
