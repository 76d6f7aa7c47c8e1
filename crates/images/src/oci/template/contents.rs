//! As what blobs, and where, the contents of files are known: so that what a registry has need not be
//! compressed to find out.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clade_store::Sha256;
use clade_store::digest::Blake3;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::kept;
use crate::oci::cache::{self, Cache};

/// Repositories that are remembered for a content.
const MAX_PLACES: usize = 8;

/// A content, as a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Packed {
    pub(super) sha256: Sha256,
    /// Bytes.
    pub(super) size: u64,
    /// Where it was seen last, the latest first.
    places: Vec<Place>,
}

/// A repository of a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    registry: String,
    repository: String,
}

impl Packed {
    pub(super) fn new(sha256: Sha256, size: u64) -> Self {
        Self {
            sha256,
            size,
            places: Vec::new(),
        }
    }

    /// The repositories of this registry that had it.
    pub(super) fn repositories<'a>(&'a self, registry: &'a str) -> impl Iterator<Item = &'a str> {
        let here = self
            .places
            .iter()
            .filter(move |one| one.registry == registry);
        here.map(|place| place.repository.as_str())
    }

    fn seen(&mut self, (registry, repository): (&str, &str)) {
        let place = Place {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
        };
        self.places.retain(|one| *one != place);
        self.places.insert(0, place);
        self.places.truncate(MAX_PLACES);
    }
}

fn record_name(content: Blake3) -> String {
    format!("{content}.json")
}

impl Cache {
    fn contents(&self) -> PathBuf {
        self.folder().join("contents")
    }

    fn content_path(&self, content: Blake3) -> PathBuf {
        self.contents().join(record_name(content))
    }

    /// Forgets all but these.
    pub(in crate::oci) fn sweep_contents(&self, needed: &[Blake3]) -> Result<(), Error> {
        let needed: BTreeSet<_> = needed.iter().copied().map(record_name).collect();
        cache::sweep(&self.contents(), |name, _| needed.contains(name))
    }

    /// The blob that a content is known to be.
    pub(super) fn packed(&self, content: Blake3) -> Option<Packed> {
        kept::read(&self.content_path(content))
    }

    /// Remembers that a repository of a registry has the content as this blob.
    pub(super) fn remember_packed(
        &self,
        content: Blake3,
        packed: &Packed,
        place: (&str, &str),
    ) -> Result<(), Error> {
        let mut now = packed.clone();
        now.seen(place);
        match self.packed(content) {
            Some(before) if before == now => Ok(()),
            _ => kept::write(&self.content_path(content), &now),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_places_are_remembered_by_registry() {
        let mut packed = Packed::new(Sha256::of(b""), 0);
        for n in 0..20 {
            packed.seen(("here", &format!("r{n}")));
        }
        packed.seen(("there", "r1"));
        packed.seen(("here", "r15"));
        let here: Vec<_> = packed.repositories("here").collect();
        assert_eq!(here, ["r15", "r19", "r18", "r17", "r16", "r14", "r13"]);
        assert_eq!(packed.repositories("there").collect::<Vec<_>>(), ["r1"]);
    }
}
