//! To a registry.

use std::collections::BTreeMap;
use std::fs;

use clade_store::digest::FileRecord;
use clade_store::snapshots::{MANIFEST, Snapshot};
use clade_store::{FileName, Sha256};

use super::TemplateRequest;
use super::contents::Packed;
use super::document::{Artifact, CONFIG, FILE};
use super::pack::{pack, plain};
use crate::archive::Setup;
use crate::oci::cache::{Cache, LOCK};
use crate::oci::document::Descriptor;
use crate::oci::registry::{Purpose, Registry};
use crate::{Error, Progress};

/// A template that is in a registry now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Its whole name there.
    pub reference: String,
    /// The checksum of its manifest.
    pub digest: Sha256,
    /// Files that were sent.
    pub sent: usize,
    /// Bytes that were sent of them, compressed.
    pub sent_bytes: u64,
    /// Files that were there already.
    pub there: usize,
}

/// Puts a template into a registry. What the registry has already is not sent again.
///
/// # Errors
/// The name is none, or says by its checksum what it must be; the registry cannot be reached or refuses;
/// a file of the template is damaged; the cache is not writable.
pub fn push(
    template: &Snapshot,
    request: &TemplateRequest,
    progress: &dyn Progress,
) -> Result<Pushed, Error> {
    let setup = Setup::of_user()?;
    let reference = request.parse()?;
    if reference.digest().is_some() {
        return Err(Error::BadReference {
            name: request.reference.clone(),
            reason: "what is pushed gets its digest by its content; name a tag".to_owned(),
        });
    }
    let registry = Registry::new(
        &reference,
        &request.insecure_registries,
        Purpose::Push,
        setup.pause,
    )?;
    registry.log_in()?;
    template.check()?;
    // As long as this is held, nobody forgets what is learnt here.
    let _lock = setup.share(LOCK, progress)?;
    let mut pushing = Pushing {
        template,
        registry,
        cache: Cache::of(&setup),
        progress,
        sent: 0,
        sent_bytes: 0,
    };
    let digest = pushing.push()?;
    Ok(Pushed {
        reference: reference.to_string(),
        digest,
        sent: pushing.sent,
        sent_bytes: pushing.sent_bytes,
        there: template.manifest.files.len() - pushing.sent,
    })
}

/// A template on its way out.
struct Pushing<'a> {
    template: &'a Snapshot,
    registry: Registry,
    cache: Cache,
    progress: &'a dyn Progress,
    sent: usize,
    sent_bytes: u64,
}

impl Pushing<'_> {
    /// The manifest goes last: what it names is there by then.
    fn push(&mut self) -> Result<Sha256, Error> {
        let mut files = BTreeMap::new();
        for (name, record) in &self.template.manifest.files {
            let packed = self.push_file(name, record)?;
            let place = self.registry.repository();
            self.cache.remember_packed(record.blake3, &packed, place)?;
            files.insert(
                name.clone(),
                Descriptor::new(FILE, packed.sha256, packed.size),
            );
        }
        let artifact = Artifact {
            config: self.push_config()?,
            files,
        };
        let json = artifact.encode(self.template.name.as_str())?;
        self.registry.put_manifest(&json)?;
        Ok(Sha256::of(&json))
    }

    /// Has a file in the repository, and says as what blob.
    fn push_file(&mut self, name: &FileName, record: &FileRecord) -> Result<Packed, Error> {
        if let Some(packed) = self.cache.packed(record.blake3)
            && self.is_there(&packed)?
        {
            return Ok(packed);
        }
        let path = self.template.path(name);
        self.progress
            .begin(&format!("compressing {name}"), record.size);
        let content = pack(&path, &self.cache.scratch(), self.progress);
        self.progress.finish();
        let content = content?;
        let packed = Packed::new(content.sha256, content.size);
        if !self.registry.has(content.sha256)? {
            let label = format!("sending {name}");
            self.registry.upload(&content, &label, self.progress)?;
            self.sent += 1;
            self.sent_bytes += content.size;
        }
        Ok(packed)
    }

    /// Whether the repository has a blob, perhaps now, from another one of the same registry.
    fn is_there(&self, packed: &Packed) -> Result<bool, Error> {
        if self.registry.has(packed.sha256)? {
            return Ok(true);
        }
        let (registry, here) = self.registry.repository();
        let mut others = packed.repositories(registry).filter(|one| *one != here);
        Ok(others.any(|other| self.registry.mount(packed.sha256, other)))
    }

    fn push_config(&self) -> Result<Descriptor, Error> {
        let path = self.template.folder().join(MANIFEST);
        let json = fs::read(&path).map_err(|error| clade_store::Error::io("read", &path, error))?;
        let content = plain(&json, &self.cache.scratch())?;
        if !self.registry.has(content.sha256)? {
            self.registry
                .upload(&content, "sending the manifest", self.progress)?;
        }
        Ok(Descriptor::new(CONFIG, content.sha256, content.size))
    }
}
