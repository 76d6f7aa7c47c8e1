//! From a registry.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use clade_store::snapshots::Manifest;
use clade_store::{FileName, Lock, Sha256};

use super::TemplateRequest;
use super::contents::Packed;
use super::document::Artifact;
use super::pack::longest;
use crate::archive::Setup;
use crate::oci::cache::{Cache, LOCK};
use crate::oci::decompress::decompress;
use crate::oci::document::Descriptor;
use crate::oci::registry::{Purpose, Registry};
use crate::oci::source::Source;
use crate::{Error, Progress};

/// A template in a registry, whose files are fetched one by one. What was fetched is kept in the cache
/// until [`RemoteTemplate::forget_fetched`], for whoever begins again.
pub struct RemoteTemplate<'a> {
    setup: Setup,
    cache: Cache,
    registry: Registry,
    progress: &'a dyn Progress,
    name: String,
    digest: Sha256,
    manifest: Manifest,
    files: BTreeMap<FileName, Descriptor>,
    fetched: BTreeMap<FileName, PathBuf>,
    /// As long as this is held, nobody takes what was fetched for what nobody needs.
    _lock: Lock,
}

impl<'a> RemoteTemplate<'a> {
    /// Asks a registry for a template, and reads its manifest.
    ///
    /// # Errors
    /// The name is none; the registry cannot be reached or refuses; what it has is no template, damaged,
    /// or of another version.
    pub fn find(request: &TemplateRequest, progress: &'a dyn Progress) -> Result<Self, Error> {
        let setup = Setup::of_user()?;
        let reference = request.parse()?;
        let mut registry = Registry::new(
            &reference,
            &request.insecure_registries,
            Purpose::FetchTemplate,
            setup.pause,
        )?;
        let name = reference.to_string();
        let json = registry.top()?;
        let artifact = Artifact::parse(&json, &name)?;
        let cache = Cache::of(&setup);
        let lock = setup.share(LOCK, progress)?;
        let config = (&artifact.config, &*name);
        let manifest = read_manifest(&setup, &cache, &mut registry, config, progress)?;
        check_files(&artifact, &manifest, &name)?;
        Ok(Self {
            setup,
            cache,
            registry,
            progress,
            name,
            digest: Sha256::of(&json),
            manifest,
            files: artifact.files,
            fetched: BTreeMap::new(),
            _lock: lock,
        })
    }

    /// Its whole name: `docker.io/owner/name:latest`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The checksum of what its name stands for.
    pub fn digest(&self) -> Sha256 {
        self.digest
    }

    /// What it was where it came from.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Fetches one of its files, whose content is whatever it is: only the manifest says what it must be.
    ///
    /// # Errors
    /// There is no such file; the registry cannot be reached or refuses, or sends something else; the
    /// disk is full or the cache not writable.
    pub fn open(&mut self, file: &FileName) -> Result<impl Read + use<>, Error> {
        let missing = || no_file(&self.name, file);
        let descriptor = self.files.get(file).ok_or_else(missing)?;
        let blob = (descriptor, file.as_str());
        let registry = &mut self.registry;
        let (path, _lock) = self
            .cache
            .fetch(&self.setup, registry, blob, self.progress)?;
        let packed = open(&path)?;
        self.fetched.insert(file.clone(), path);
        decompress(BufReader::with_capacity(1 << 20, packed))
            .map_err(|error| Error::malformed(format!("{file} of {}", self.name), error))
    }

    /// Files and bytes that [`RemoteTemplate::open`] fetched, compressed.
    pub fn fetched(&self) -> (usize, u64) {
        let sizes = self.fetched.keys().map(|file| self.files[file].size);
        (self.fetched.len(), sizes.sum())
    }

    /// Removes what was fetched, all of which had the right content: only where that is, is remembered.
    ///
    /// # Errors
    /// The cache is not writable.
    pub fn forget_fetched(self) -> Result<(), Error> {
        for (file, path) in &self.fetched {
            let descriptor = &self.files[file];
            let packed = Packed::new(descriptor.sha256()?, descriptor.size);
            let content = self.manifest.files[file].blake3;
            self.cache
                .remember_packed(content, &packed, self.registry.repository())?;
            let _lock = self
                .cache
                .lock_blob(&self.setup, packed.sha256, self.progress)?;
            // Two files may have been one blob, and somebody else may have fetched it, too.
            let _ = fs::remove_file(path);
        }
        Ok(())
    }
}

fn read_manifest(
    setup: &Setup,
    cache: &Cache,
    registry: &mut Registry,
    (config, name): (&Descriptor, &str),
    progress: &dyn Progress,
) -> Result<Manifest, Error> {
    if config.size > Manifest::LONGEST {
        let reason = format!("its manifest has {} bytes", config.size);
        return Err(Error::malformed(format!("the template {name}"), reason));
    }
    let (path, _lock) = cache.fetch(setup, registry, (config, "manifest"), progress)?;
    let json = fs::read(&path).map_err(|error| clade_store::Error::io("read", &path, error))?;
    let _ = fs::remove_file(&path);
    Ok(Manifest::parse(&json, Path::new(name))?)
}

/// The snapshot's files are the artifact's, none larger than it could be.
fn check_files(artifact: &Artifact, manifest: &Manifest, name: &str) -> Result<(), Error> {
    let wrong = |reason: String| Error::malformed(format!("the template {name}"), reason);
    for (file, descriptor) in &artifact.files {
        let Some(record) = manifest.files.get(file) else {
            return Err(wrong(format!("{file} does not belong into it")));
        };
        if descriptor.size > longest(record.size) {
            return Err(wrong(format!("{file} is larger than it could be")));
        }
    }
    match manifest
        .files
        .keys()
        .find(|file| !artifact.files.contains_key(file))
    {
        Some(file) => Err(no_file(name, file)),
        None => Ok(()),
    }
}

fn no_file(name: &str, file: &FileName) -> Error {
    Error::malformed(
        format!("the template {name}"),
        format!("{file} is not in it"),
    )
}

fn open(path: &Path) -> Result<File, Error> {
    Ok(File::open(path).map_err(|error| clade_store::Error::io("open", path, error))?)
}
