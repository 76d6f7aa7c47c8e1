use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::digest::FileRecord;
use crate::sealed::{self, Document};
use crate::{Error, FileName};

/// The file name of a snapshot's manifest.
pub const MANIFEST: &str = "snapshot.json";

/// The file name of the index of memory, in snapshots that have memory.
pub const MEMORY_INDEX: &str = "memory.index";

/// The file name of the state of vCPUs and devices, in snapshots that have memory.
pub const STATE: &str = "state.json";

/// The file name of what an engine has made of the guest's code, in snapshots that have memory and where
/// it was worth it. It is no part of the snapshot: it is for the executable that wrote it, checks itself,
/// and may be lost.
pub const CODE_CACHE: &str = "code.cache";

/// What a snapshot is, and all of its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its id: twelve hexadecimal digits.
    pub id: FileName,
    /// When it was made, in seconds since 1970.
    pub created: u64,
    /// And nanoseconds.
    #[serde(default)]
    pub created_nanos: u32,
    /// What its maker says of it.
    pub details: Details,
    /// Every file but the manifest and the code cache.
    pub files: BTreeMap<FileName, FileRecord>,
}

impl Manifest {
    /// Bytes of the longest that is taken from elsewhere.
    pub const LONGEST: u64 = 16 << 20;

    /// The manifest that these bytes are, all of which are checked. They are called `path` in errors.
    ///
    /// # Errors
    /// They are damaged, no manifest, or of another version.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, Error> {
        sealed::parse(bytes).map_err(|error| Error::content(path, error))
    }

    /// When it was made, in nanoseconds since 1970.
    pub fn created_ns(&self) -> u64 {
        let seconds = self.created.saturating_mul(1_000_000_000);
        seconds.saturating_add(self.created_nanos.into())
    }
}

/// What the maker of a snapshot says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// A name or tag that its user gave it.
    pub name: Option<String>,
    /// The machine that it is a state of.
    pub origin: Origin,
    /// The id of the snapshot that the machine last was the same as.
    pub parent: Option<FileName>,
    /// The machine's configuration, which the store does not know more of.
    pub config: serde_json::Value,
    /// Bytes of memory that the guest has, if its memory, vCPUs and devices are in the snapshot;
    /// `None` if it is of the disks alone.
    pub memory_bytes: Option<u64>,
    /// How long the guest stood still for it, in nanoseconds.
    pub pause_ns: u64,
}

/// A machine, which may be gone since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its id.
    pub id: String,
    /// Its name when the snapshot was made.
    pub name: String,
}

impl Document for Manifest {
    const KIND: &'static str = "snapshot";
    const VERSION: u32 = 1;
}
