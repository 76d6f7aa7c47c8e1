//! What there is of OCI images: blobs and file systems by checksum, and what names stand for.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clade_store::digest::Blake3;
use clade_store::{Lock, Sha256};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::document::Descriptor;
use super::image::{OciImage, OciProcess, RECIPE};
use super::name::Name;
use super::source::Source;
use crate::archive::Setup;
use crate::kept::{self, Stamp};
use crate::{Architecture, Error, ImageSummary, Progress};

/// The record beside a file system; written last, it makes it valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) recipe: u32,
    #[serde(default)]
    pub(super) architecture: Architecture,
    pub(super) built: Timestamp,
    pub(super) process: OciProcess,
    /// The file's stamp.
    pub(super) root: Stamp,
    /// What it was made of: whoever removes it removes those, too.
    pub(super) blobs: Vec<Sha256>,
}

/// What a name stood for when it was last asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Pulled {
    name: String,
    #[serde(default)]
    architecture: Architecture,
    digest: Sha256,
}

/// The OCI images in the cache.
pub(crate) fn list(setup: &Setup) -> Vec<ImageSummary> {
    let cache = Cache::of(setup);
    let mut images: Vec<_> = cache
        .pulled()
        .filter_map(|pulled| {
            let digest = pulled.digest;
            let record = cache.record(digest)?;
            let root = fs::metadata(cache.root(digest)).ok()?;
            Some(ImageSummary {
                name: pulled.name,
                architecture: pulled.architecture,
                description: describe(&record.process),
                cached: true,
                size: root.blocks() * 512,
                kernel_version: String::new(),
                digest: Some(digest),
                built: record.built.to_string(),
            })
        })
        .collect();
    images.sort_by(|a, b| (&a.name, a.architecture).cmp(&(&b.name, b.architecture)));
    images
}

/// The file system's name in the folder of an image.
const ROOT: &str = "root.ext4";

/// Held, by several at a time, while an image is made and named or a template pushed or pulled, and by one
/// alone while what nobody needs is removed.
pub(super) const LOCK: &str = "OCI images";

/// Takes the name off an image, and removes what no other name needs.
pub(crate) fn remove(
    setup: &Setup,
    name: &str,
    architecture: Architecture,
    needed: &[PathBuf],
    progress: &dyn Progress,
) -> Result<String, Error> {
    let name = Name::parse(name)?.to_string();
    let cache = Cache::of(setup);
    let _lock = setup.lock(LOCK, progress)?;
    let Some(digest) = cache.digest_of(&name, architecture) else {
        return Err(Error::NotHere { name });
    };
    let names = cache.pulled().filter(|pulled| pulled.digest == digest);
    let path = cache.root(digest);
    if names.count() == 1 && kept::is_needed(&path, needed) {
        return Err(Error::Needed { name, path });
    }
    let record = cache.name_path(&name, architecture);
    fs::remove_file(&record).map_err(|error| clade_store::Error::io("remove", &record, error))?;
    cache.sweep(needed)?;
    Ok(name)
}

/// Removes parts that no image needs, and forgets as what blobs contents are known that are not in
/// `contents`, which is asked once nobody pushes or pulls. While somebody does, all stays for the next time.
pub(crate) fn sweep_parts<E: From<Error>>(
    setup: &Setup,
    contents: impl FnOnce() -> Result<Vec<Blake3>, E>,
) -> Result<(), E> {
    let Some(_lock) = setup.try_lock(LOCK)? else {
        return Ok(());
    };
    let cache = Cache::of(setup);
    cache.sweep_blobs()?;
    Ok(cache.sweep_contents(&contents()?)?)
}

fn describe(process: &OciProcess) -> String {
    let words = process.entrypoint.iter().chain(&process.command);
    let words: Vec<_> = words.map(String::as_str).collect();
    format!("OCI image: {}", words.join(" "))
}

/// Where the cache keeps OCI images.
pub(super) struct Cache(PathBuf);

impl Cache {
    pub(super) fn of(setup: &Setup) -> Self {
        Self(setup.cache.join("oci"))
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0
    }

    /// Where files without names are.
    pub(super) fn scratch(&self) -> PathBuf {
        self.0.join("blobs")
    }

    pub(super) fn blob(&self, sum: Sha256) -> PathBuf {
        self.0.join("blobs").join(sum.to_string())
    }

    /// Nobody else fetches or removes a blob while this is held.
    pub(super) fn lock_blob(
        &self,
        setup: &Setup,
        sum: Sha256,
        progress: &dyn Progress,
    ) -> Result<Lock, Error> {
        setup.lock(&format!("layer-{}", sum.short()), progress)
    }

    /// Brings a blob into the cache, unless it is there and intact. It stays there as long as the lock
    /// is held.
    pub(super) fn fetch(
        &self,
        setup: &Setup,
        source: &mut dyn Source,
        (descriptor, label): (&Descriptor, &str),
        progress: &dyn Progress,
    ) -> Result<(PathBuf, Lock), Error> {
        let sum = descriptor.sha256()?;
        let path = self.blob(sum);
        clade_store::create_folder(path.parent().unwrap_or(&path))?;
        let lock = self.lock_blob(setup, sum, progress)?;
        if !path.exists() || Sha256::of_file(&path)? != sum {
            source.blob(descriptor, label, &path, progress)?;
        }
        Ok((path, lock))
    }

    pub(super) fn root(&self, digest: Sha256) -> PathBuf {
        self.0.join("images").join(digest.to_string()).join(ROOT)
    }

    pub(super) fn record_path(&self, digest: Sha256) -> PathBuf {
        self.root(digest).with_file_name("image.json")
    }

    fn name_path(&self, name: &str, architecture: Architecture) -> PathBuf {
        let sum = Sha256::of(architecture.mark(name).as_bytes());
        let file = format!("{}.json", sum.short());
        self.0.join("names").join(file)
    }

    pub(super) fn digest_of(&self, name: &str, architecture: Architecture) -> Option<Sha256> {
        let pulled: Pulled = kept::read(&self.name_path(name, architecture))?;
        let is_meant = pulled.name == name && pulled.architecture == architecture;
        is_meant.then_some(pulled.digest)
    }

    pub(super) fn remember(
        &self,
        name: &str,
        architecture: Architecture,
        digest: Sha256,
    ) -> Result<(), Error> {
        if self.digest_of(name, architecture) == Some(digest) {
            return Ok(());
        }
        let pulled = Pulled {
            name: name.to_owned(),
            architecture,
            digest,
        };
        kept::write(&self.name_path(name, architecture), &pulled)
    }

    fn pulled(&self) -> impl Iterator<Item = Pulled> {
        let names = fs::read_dir(self.0.join("names")).into_iter().flatten();
        names.filter_map(|entry| kept::read(&entry.ok()?.path()))
    }

    /// The record of an image that is there, made by this version of Clade and not changed since.
    fn record(&self, digest: Sha256) -> Option<Record> {
        let record: Record = kept::read(&self.record_path(digest))?;
        (record.recipe == RECIPE && record.root.holds(&self.root(digest))).then_some(record)
    }

    /// An image that is there, if it is for this architecture.
    pub(super) fn image(
        &self,
        name: &str,
        architecture: Architecture,
        digest: Sha256,
    ) -> Option<OciImage> {
        let record = self.record(digest)?;
        (record.architecture == architecture).then(|| OciImage {
            name: name.to_owned(),
            digest,
            root: self.root(digest),
            process: record.process,
        })
    }

    /// Removes images and blobs that no name stands for, and no machine needs.
    fn sweep(&self, needed: &[PathBuf]) -> Result<(), Error> {
        let named: BTreeSet<String> = self
            .pulled()
            .map(|pulled| pulled.digest.to_string())
            .collect();
        sweep(&self.0.join("images"), |name, folder| {
            named.contains(name) || kept::is_needed(&folder.join(ROOT), needed)
        })?;
        self.sweep_blobs()
    }

    /// Removes blobs that no image is made of that has a name.
    fn sweep_blobs(&self) -> Result<(), Error> {
        let records = self
            .pulled()
            .filter_map(|pulled| self.record(pulled.digest));
        let blobs = records.flat_map(|record| record.blobs);
        let blobs: BTreeSet<String> = blobs.map(|blob| blob.to_string()).collect();
        sweep(&self.0.join("blobs"), |name, _| blobs.contains(name))
    }
}

/// Removes what is in a folder but for what `keep` says of its name and path.
pub(super) fn sweep(folder: &Path, keep: impl Fn(&str, &Path) -> bool) -> Result<(), Error> {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry
            .file_name()
            .to_str()
            .is_some_and(|name| keep(name, &path))
        {
            continue;
        }
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        removed.map_err(|error| clade_store::Error::io("remove", &path, error))?;
    }
    Ok(())
}
