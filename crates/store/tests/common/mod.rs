//! Small snapshots for tests.

// Each test program uses a part of it.
#![allow(dead_code)]

use std::fs;

use clade_store::memory::{LayerWriter, MemoryIndex, PAGE};
use clade_store::snapshots::{Details, DraftSnapshot, Origin, Snapshot, Snapshots};
use clade_store::{Error, FileName};

/// Pages that each snapshot adds.
const PAGES: usize = 20;

pub(crate) fn name(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

pub(crate) fn details(parent: Option<&Snapshot>) -> Details {
    Details {
        name: Some("before the update".into()),
        origin: Origin {
            id: "0123456789ab".into(),
            name: "calm-heron".into(),
        },
        parent: parent.map(|parent| parent.manifest.id.clone()),
        config: serde_json::json!({ "cpus": 2, "network": ["user"] }),
        memory_bytes: Some(1 << 30),
        pause_ns: 1_234_567,
    }
}

/// A snapshot with all layers of its parent, and a layer of its own whose name and pages are this
/// number.
pub(crate) fn make(
    snapshots: &Snapshots,
    parent: Option<&Snapshot>,
    number: u64,
) -> Result<Snapshot, Error> {
    let mut draft = snapshots.begin()?;
    let mut base = MemoryIndex::default();
    if let Some(parent) = parent {
        draft.know(parent.manifest.files.values().copied());
        base = parent.memory_index()?.unwrap_or_default();
        for layer in base.layers() {
            draft.link(&parent.path(layer), layer)?;
        }
    }
    add_memory(&draft, &base, number)?;
    draft.commit(details(parent))
}

/// Files of memory, with one new layer.
pub(crate) fn add_memory(
    draft: &DraftSnapshot,
    base: &MemoryIndex,
    number: u64,
) -> Result<(), Error> {
    let layer = name(&format!("layer-{number}.mem"));
    let failed = |error| Error::io("write", &draft.path(&layer), error);
    let mut writer = LayerWriter::new(draft.create(&layer)?);
    let pages = [[number as u8 | 1; PAGE]; PAGES];
    // Parts of the layers below stay in use.
    let first = 0x80000 + number % 64 * (PAGES as u64 / 2);
    writer.put_run(first, &pages).map_err(failed)?;
    let (index, _) = writer.finish(layer.clone(), base).map_err(failed)?;
    index.write(&draft.path(&name("memory.index")))?;
    clade_store::write(&draft.path(&name("state.json")), b"{\"vcpus\":[]}")
}

/// Names in the store's folder that are no snapshots.
pub(crate) fn leftovers(snapshots: &Snapshots) -> Vec<String> {
    let names = fs::read_dir(snapshots.folder()).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.retain(|name| name.starts_with('.'));
    names
}
